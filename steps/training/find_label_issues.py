"""Rank the images with label issues."""

from typing import Annotated

import pandas as pd
from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedImages
from imageloop.training.devices import DeviceChoice
from imageloop.training.label_issues import find_label_issues as find
from imageloop.workspace_paths import Workspace
from materializers.label_issues import LabelIssuesMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"label_issues": LabelIssuesMaterializer})
def find_label_issues(prepared: PreparedImages, backbone: str, device: DeviceChoice) -> Annotated[pd.DataFrame, "label_issues"]:
    """Report label issues for review: nothing is relabelled or dropped automatically."""
    issues = find(prepared, backbone, Workspace.current(), device)
    log_metadata({"num_issues": len(issues)})
    return issues
