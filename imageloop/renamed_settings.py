"""Settings that have another name since 0.2.0 or later: what a file or a registered version from before calls them. Gone in 0.3.0."""

from typing import Any

NEW_NAMES = {
    "experience": "feedback",
    "experience_weight": "feedback_weight",
    "imitate": "drift_augmentation",
    "imitation": "drift_augmentation",
    "keep_refused_version": "allow_refused_version",
    "kept": "retained_images",
    "max_milliseconds_per_picture": "max_milliseconds_per_image",
    "min_pictures_per_class": "min_images_per_class",
    "num_calibration_pictures": "num_calibration_images",
    "num_pictures": "num_images",
    "reference_answers": "reference_predictions",
    "truth": "performance",
}


def with_new_names(values: Any) -> Any:
    """Settings as they were stored before 0.2.0, under their names of today."""
    if isinstance(values, dict):
        return {NEW_NAMES.get(key, key): with_new_names(value) for key, value in values.items()}
    if isinstance(values, list):
        return [with_new_names(value) for value in values]
    return values
