"""The model behind the Open Inference Protocol (V2), as MLServer serves it: `implementation: seldon.v2_runtime.ImageRuntime`.

For clusters whose SeldonDeployment has `protocol: v2`, and for KServe. Predictions are those of the Seldon microservice: the same
package in the same `Predictor`. Records, feedback and explanations are served by the microservice only.
Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import asyncio
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput

from imageloop.errors import ImageRefusedError
from imageloop.model.predictor import Predictions, Predictor
from imageloop.model.signing import public_key
from imageloop.workspace_paths import Workspace
from seldon.service.open_inference import EXPECTED, files_of
from seldon.service.request_errors import RequestError
from seldon.service.seldon_messages import Contents, checked_pixels


class ImageRuntime(MLModel):
    """Inputs: one of BYTES (content type base64) or of UINT8 pixels. Outputs: `probabilities` (N, K) FP32 and `labels` (N,) BYTES."""

    async def load(self) -> bool:
        """Verify the package at `parameters.uri`, and open it.

        Raises: PackageError, SignatureError.
        """
        uri = self.settings.parameters.uri if self.settings.parameters else None
        folder = Path(str(uri or "/mnt/models").removeprefix("file://"))
        self._predictor = Predictor.load(folder, public_key(Workspace.current().keys), threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Raises: InferenceError, for which MLServer responds with 400, for an unusable image."""
        try:
            contents = self._contents(payload.inputs)
        # RequestError is ours; the others are of MLServer's decoders, for a shape or a value.
        except (RequestError, ValueError, TypeError, OverflowError) as error:
            raise InferenceError(f"{error}; expected {EXPECTED}") from error
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self._predict, contents)
        except ImageRefusedError as error:
            raise InferenceError(str(error)) from error
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=_outputs(found))

    def _predict(self, contents: Contents) -> Predictions:
        if isinstance(contents, np.ndarray):
            return self._predictor.predict(contents)
        found = self._predictor.preprocess_all(contents)
        for error in found.refused.values():
            raise error
        return self._predictor.predict(found.images_BSSC)

    def _contents(self, inputs: list[RequestInput]) -> Contents:
        if len(inputs) != 1:
            raise InferenceError(f"expected {EXPECTED}, got {len(inputs)}")
        (given,) = inputs
        if given.datatype == "BYTES":
            values = given.data.root
            return files_of(values if isinstance(values, list) else [values], "data")
        if given.datatype == "UINT8":
            return checked_pixels(NumpyCodec.decode_input(given), self._predictor.info.side_pixels)
        raise InferenceError(f"expected {EXPECTED}, got {given.datatype}")


def _outputs(found: Predictions) -> list[object]:
    return [
        NumpyCodec.encode_output("probabilities", found.probabilities.astype(np.float32)),
        StringCodec.encode_output("labels", found.labels),
    ]
