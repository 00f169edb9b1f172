"""The chart, rendered by helm: what is installed, and what it may do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).resolve().parents[2] / "charts/likeness"
Render = Callable[..., list[dict[str, Any]]]
Template = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACES = "watchNamespaces={shop,studio}"


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in objects if manifest["kind"] == kind]


def rules(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for kind in ("ClusterRole", "Role") for role in of_kind(objects, kind) for rule in role["rules"]]


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of_kind(objects, "Deployment")
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("values", [(), (NAMESPACES,)], ids=["cluster-wide", "by-namespace"])
def test_no_right_touches_secrets_or_is_a_wildcard(render: Render, values: tuple[str, ...]) -> None:
    granted = rules(render(*values))
    assert granted
    for rule in granted:
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not words & {"*", "secrets", "pods/exec", "impersonate", "escalate", "bind"}


def test_cluster_wide_and_by_namespace_grant_the_same(render: Render) -> None:
    def as_set(granted: list[dict[str, Any]]) -> set[str]:
        return {json.dumps(rule, sort_keys=True) for rule in granted}

    assert as_set(rules(render())) == as_set(rules(render(NAMESPACES)))


def test_by_namespace_only_profiles_are_read_across_the_cluster(render: Render) -> None:
    objects = render(NAMESPACES)
    (role,) = of_kind(objects, "ClusterRole")
    assert [rule["resources"] for rule in role["rules"]] == [["tuningprofiles"]]
    roles = [role for role in of_kind(objects, "Role") if not role["metadata"]["name"].endswith("-lease")]
    assert [role["metadata"]["namespace"] for role in roles] == ["shop", "studio"]
    assert [word for word in container(objects)["args"] if "namespace" in word] == [
        "--namespace=shop",
        "--namespace=studio",
    ]


def test_the_operator_takes_every_argument_that_the_chart_gives(render: Render) -> None:
    from likeness_operator.main import parser

    parsed = parser().parse_args(container(render(NAMESPACES))["args"])
    assert parsed.namespace == ["shop", "studio"]
    assert parsed.probe_port == container(render())["ports"][0]["containerPort"]


def test_of_two_operators_one_acts_and_both_may_only_touch_that_one_lease(render: Render) -> None:
    from likeness_operator.main import parser

    objects = render()
    lease = parser().parse_args(container(objects)["args"]).lease
    (role,) = [role for role in of_kind(objects, "Role") if role["metadata"]["name"].endswith("-lease")]
    assert role["metadata"]["namespace"] == lease.namespace == "system"
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in role["rules"]] == [
        (["create"], None),
        (["get", "update"], [lease.name]),
    ]
    (deployment,) = of_kind(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_a_single_operator_may_be_drained(render: Render) -> None:
    assert of_kind(render("replicas=1"), "PodDisruptionBudget") == []


def test_the_crds_are_those_of_the_types_and_stay_when_the_chart_goes(render: Render) -> None:
    rendered = {crd["metadata"]["name"]: crd for crd in of_kind(render(), "CustomResourceDefinition")}
    sources = [yaml.safe_load(path.read_text()) for path in sorted((CHART.parents[1] / "crds").glob("*.yaml"))]
    assert rendered.keys() == {crd["metadata"]["name"] for crd in sources}
    for crd in sources:
        mine = rendered[crd["metadata"]["name"]]
        assert mine["spec"] == crd["spec"]
        assert mine["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_crds_can_be_left_to_somebody_else(render: Render) -> None:
    assert of_kind(render("crds.install=false"), "CustomResourceDefinition") == []


def test_the_operator_pod_fits_the_restricted_level(render: Render) -> None:
    (deployment,) = of_kind(render(), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container([deployment])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_tuners_get_a_service_account_and_no_right(render: Render) -> None:
    tuner = "tunerServiceAccounts[0]"
    objects = render(f"{tuner}.namespace=shop", f"{tuner}.name=tuner", f"{tuner}.annotations.role=painter")
    (account,) = [found for found in of_kind(objects, "ServiceAccount") if found["metadata"]["namespace"] == "shop"]
    assert account["metadata"]["annotations"] == {"role": "painter"}
    assert account["automountServiceAccountToken"] is False
    bindings = of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding")
    assert {subject["name"] for binding in bindings for subject in binding["subjects"]} == {"likeness-operator"}


@pytest.mark.parametrize(
    "value",
    ["imge.tag=1", "image.tags=1", "resources.limit.cpu=1", "watchNamespaces={Shop}", "logFormat=xml", "crds.keep=no"],
)
def test_a_value_that_the_chart_does_not_know_is_refused(template: Template, value: str) -> None:
    done = template(value)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr


def test_the_schema_describes_every_value_of_the_file() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values.keys() == schema["properties"].keys() - {"global"}


def test_the_chart_and_the_package_have_one_version() -> None:
    from importlib.metadata import version

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version("likeness")
