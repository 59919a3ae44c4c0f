"""What ImageLoop does with images and models. Knows no orchestrator, no tracker and no server."""

import os

# Read when PyTorch is loaded: threads of OpenMP that wait for work sleep. Those that spin, as they do by default, take the
# processor from a service or a second training beside them, and gain nothing on a free machine (`make bench-waiting`).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read when ONNX Runtime is loaded: its wheels send usage data to their maker, and write an id of the device, unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
