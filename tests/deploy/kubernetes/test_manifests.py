"""What stands around the service in a cluster; .ci/infrastructure asks the tools' own validators."""

import re
import subprocess
from pathlib import Path

import yaml

from deploy.kubernetes import render_alert_rules

PROJECT = Path(__file__).parents[3]
BASE = PROJECT / "deploy" / "kubernetes" / "base"


def documents(folder: Path) -> list[dict]:
    return [one for file in sorted(folder.rglob("*.yaml")) for one in yaml.safe_load_all(file.read_text()) if one]


def test_the_rules_in_the_cluster_are_those_that_are_tested():
    assert (BASE / "rules.yaml").read_text() == render_alert_rules.render()


def test_git_holds_no_secret_and_nothing_that_belongs_to_the_deployer():
    kinds = {one["kind"] for one in documents(PROJECT / "deploy") if "kind" in one}

    assert not kinds & {"Secret", "SeldonDeployment", "HorizontalPodAutoscaler"}
    (project,) = [one for one in documents(PROJECT / "deploy" / "argocd") if one["kind"] == "AppProject"]
    assert {"group": "machinelearning.seldon.io", "kind": "SeldonDeployment"} in project["spec"]["namespaceResourceBlacklist"]


def test_pipelines_may_do_what_the_cluster_class_and_the_orchestrator_do_and_no_more():
    (role,) = [one for one in documents(BASE) if one["kind"] == "Role"]
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}

    assert {("seldondeployments", "patch"), ("leases", "update"), ("pods/proxy", "get"), ("jobs", "create")} <= allowed
    assert not [pair for pair in allowed if "*" in pair]
    assert {verb for resource, verb in allowed if resource == "secrets"} == {"create", "delete"}  # tokens of runs


def test_each_site_has_passwords_of_its_own():
    command = [PROJECT / "deploy" / "compose" / "secrets.sh", "-"]
    one, other = (subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines() for _ in range(2))
    values = [line.partition("=")[2] for line in one + other]

    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 32


def test_each_group_of_rules_has_a_name_of_its_own_for_the_operator_takes_them_as_one_file():
    names = [group["name"] for group in yaml.safe_load((BASE / "rules.yaml").read_text())["spec"]["groups"]]

    assert len(set(names)) == len(names)


def test_ray_has_the_same_version_in_the_cluster_as_in_the_image_and_is_closed_without_a_token():
    (cluster,) = [one for one in documents(PROJECT / "deploy" / "kubernetes" / "ray") if one["kind"] == "RayCluster"]
    pinned = re.search(r"ray\[client\]==([\d.]+)", (PROJECT / "pyproject.toml").read_text())

    assert pinned
    assert cluster["spec"]["rayVersion"] == pinned[1]
    assert cluster["spec"]["authOptions"]["mode"] == "token"
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    containers = [container for group in groups for container in group["template"]["spec"]["containers"]]
    assert {container["image"] for container in containers} == {"imageloop-pipeline"}
    assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in containers)
