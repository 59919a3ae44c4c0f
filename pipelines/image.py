"""The image in which the steps of every pipeline run, on stacks that run steps in containers."""

from pathlib import Path

from zenml.config import DockerSettings
from zenml.config.docker_settings import DockerBuildConfig

ROOT = Path(__file__).parents[1]
PIPELINE_IMAGE = DockerSettings(
    dockerfile=str(ROOT / "Dockerfile"),
    build_context_root=str(ROOT),
    parent_image_build_config=DockerBuildConfig(build_options={"target": "pipeline"}),
    install_stack_requirements=False,  # they are in requirements/pipeline.txt, with hashes
    disable_automatic_requirements_detection=True,
    allow_download_from_artifact_store=False,
    allow_download_from_code_repository=False,
)
