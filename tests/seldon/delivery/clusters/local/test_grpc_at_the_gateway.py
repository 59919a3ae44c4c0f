"""Calls over gRPC through the gateway: which deployment they reach, with which rights, while versions change."""

import subprocess
import threading
from collections import Counter
from urllib.parse import urlsplit

import grpc
import pytest

from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.render_manifest import render
from seldon.service.open_inference_proto import SERVICE, message_class
from tests.fakes.kubernetes.authority import certify

pytestmark = pytest.mark.xdist_group("cluster")
NAMED = (("seldon", "pets"), ("namespace", "default"))


def address_of(cluster) -> str:
    return urlsplit(cluster.describe("default", "pets").url).netloc


def infer(channel, content: bytes, metadata=NAMED):
    """The label of an image, and the predictor."""
    call = channel.unary_unary(
        f"/{SERVICE}/ModelInfer", lambda message: message.SerializeToString(), message_class("ModelInferResponse").FromString
    )
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [content]}}
    found = call(message_class("ModelInferRequest")(model_name="colours", inputs=[tensor]), metadata=metadata, timeout=30)
    label = next(one for one in found.outputs if one.name == "labels").contents.bytes_contents[0].decode()
    return label, found.parameters["predictor"].string_param


@pytest.fixture
def channel(served):
    with grpc.insecure_channel(address_of(served)) as opened:
        yield opened


SELDON_CLIENT = """
import sys
from seldon_core.seldon_client import SeldonClient
client = SeldonClient(deployment_name="pets", namespace="default", gateway="ambassador", gateway_endpoint=sys.argv[1], transport="grpc")
answer = client.predict(bin_data=open(sys.argv[2], "rb").read(), client_return_type="proto")
assert answer.success, answer.msg
print(answer.response.meta.tags["labels"].list_value[0])
"""


def test_seldons_own_client_finds_it(served, tmp_path, colours):
    (tmp_path / "blue.png").write_bytes(colours.blue)

    command = [serving_python(), "-W", "ignore", "-c", SELDON_CLIENT, address_of(served), tmp_path / "blue.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "blue"), done.stderr


@pytest.mark.parametrize("metadata", [NAMED, NAMED[:1], ()], ids=["name and namespace", "name", "nothing"])
def test_a_deployment_that_is_alone_needs_no_name(channel, colours, metadata):
    assert infer(channel, colours.red, metadata)[0] == "red"


def test_another_name_finds_nothing(channel, colours):
    with pytest.raises(grpc.RpcError) as refused:
        infer(channel, colours.red, (("seldon", "others"),))

    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_weights_change_and_no_call_fails(served, predictor_spec, make_package, colours):
    manifest, second, failures, seen, stop = served.get("default", "pets"), make_package(), [], Counter(), threading.Event()

    def ask(number: int) -> None:
        label, content = [("red", colours.red), ("blue", colours.blue)][number % 2]
        with grpc.insecure_channel(address_of(served)) as channel:
            while not stop.is_set():
                try:
                    found, predictor = infer(channel, content)
                except grpc.RpcError as error:
                    failures.append((error.code(), error.details()))
                    continue
                seen[predictor] += 1
                if found != label:
                    failures.append(found)

    callers = [threading.Thread(target=ask, args=[number]) for number in range(4)]
    for caller in callers:
        caller.start()
    both = [predictor_spec("1", replicas=2, traffic=50), predictor_spec("2", second, traffic=50)]
    served.apply(manifest.with_predictors(both, None))
    stop.wait(3)
    shares = dict(seen)
    served.apply(manifest)
    stop.wait(1)
    stop.set()
    for caller in callers:
        caller.join()

    assert failures == []
    assert len(shares) == 2


def test_keys_part_the_rights_and_tls_carries_calls(make_cluster, predictor_spec, colours, monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", f"alice:predict:{'a' * 20};bob:metrics:{'b' * 20}")
    _, certificate = certify(tmp_path)
    cluster = make_cluster(tls_certificate=str(certificate), tls_key=str(tmp_path / "server.key"))
    cluster.apply(render("pets", "default", [predictor_spec("1")]))
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    found = {}

    with grpc.secure_channel(address_of(cluster), credentials) as channel:
        for name, metadata in {
            "alice": ("x-api-key", "a" * 20),
            "bob": ("x-api-key", "b" * 20),
            "nobody": ("x-client", "alice"),
        }.items():
            try:
                found[name] = infer(channel, colours.red, (*NAMED, metadata))[0]
            except grpc.RpcError as error:
                found[name] = error.code().name

    cluster.stop()
    assert found == {"alice": "red", "bob": "PERMISSION_DENIED", "nobody": "UNAUTHENTICATED"}
