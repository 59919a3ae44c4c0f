"""What each file under configs/ may say."""

from classifier.data.settings import DataSettings
from classifier.promotion.settings import PromotionSettings
from classifier.settings import Settings
from classifier.training.settings import TrainingSettings


class TrainSettings(Settings):
    """Everything that `python run.py train` goes by; each value has a default."""

    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
