"""The image in which the steps of every pipeline run, on stacks that run steps in containers."""

import os

from zenml.config import DockerSettings
from zenml.config.docker_settings import DockerBuildConfig

from imageloop.adapters.git import commit_of
from imageloop.adapters.run_command import IMAGE_VARIABLE
from imageloop.workspace_paths import PROJECT


def pipeline_image(published: str | None) -> DockerSettings:
    """Return the container image of that name; without a name, build one of this code."""
    in_it = {"allow_download_from_artifact_store": False, "allow_download_from_code_repository": False}  # the code, that is
    if published:
        return DockerSettings(parent_image=published, skip_build=True, **in_it)
    return DockerSettings(
        dockerfile=str(PROJECT / "Dockerfile"),
        build_context_root=str(PROJECT),
        parent_image_build_config=DockerBuildConfig(
            build_options={"target": "pipeline", "buildargs": {"COMMIT": commit_of(PROJECT)}}
        ),
        install_stack_requirements=False,  # they are in requirements/pipeline.txt, with hashes
        disable_automatic_requirements_detection=True,
        **in_it,
    )


PIPELINE_IMAGE = pipeline_image(os.environ.get(IMAGE_VARIABLE))
