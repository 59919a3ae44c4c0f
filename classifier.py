"""Keep `classifier.model.pyfunc` importable, which MLflow versions registered before 0.2.0 name as their loader; until 0.3.0."""

import sys

from imageloop import model
from imageloop.model import pyfunc

sys.modules |= {"classifier.model": model, "classifier.model.pyfunc": pyfunc}
