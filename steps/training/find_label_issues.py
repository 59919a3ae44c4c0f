"""Rank the pictures whose labels look wrong."""

from typing import Annotated

import pandas as pd
from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedPictures
from imageloop.training.devices import Wanted
from imageloop.training.label_issues import find_label_issues as find
from imageloop.workspace_paths import Workspace
from materializers.label_issues import LabelIssuesMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"label_issues": LabelIssuesMaterializer})
def find_label_issues(prepared: PreparedPictures, backbone: str, device: Wanted) -> Annotated[pd.DataFrame, "label_issues"]:
    """For a person to look at: nothing is relabelled or dropped by itself."""
    issues = find(prepared, backbone, Workspace.current(), device)
    log_metadata({"num_issues": len(issues)})
    return issues
