"""The chart, rendered by helm: what is installed, and what it may do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from likeness_api.crd import KINDS, manifest
from likeness_operator.kubernetes.lease import LeaseName

CHART = Path(__file__).resolve().parents[2] / "charts/likeness"
Render = Callable[..., list[dict[str, Any]]]
Template = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACES = "watchNamespaces={shop,studio}"


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in objects if manifest["kind"] == kind]


def rules(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The operator's own."""
    return [
        rule for kind in ("ClusterRole", "Role") for role in operator_roles(objects, kind) for rule in role["rules"]
    ]


def operator_roles(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [role for role in of_kind(objects, kind) if role["metadata"]["name"].startswith("likeness-operator")]


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


def test_by_namespace_only_profiles_are_read_across_the_cluster_and_tokens_checked(render: Render) -> None:
    objects = render(NAMESPACES)
    (role,) = operator_roles(objects, "ClusterRole")
    assert [rule["resources"] for rule in role["rules"]] == [["tuningprofiles"], ["tokenreviews"]]
    roles = [role for role in operator_roles(objects, "Role") if not role["metadata"]["name"].endswith("-lease")]
    assert [role["metadata"]["namespace"] for role in roles] == ["shop", "studio"]
    assert [word for word in container(objects)["args"] if "namespace" in word] == [
        "--namespace=shop",
        "--namespace=studio",
    ]


def test_the_operator_takes_every_argument_that_the_chart_gives(render: Render) -> None:
    from likeness_operator.main import parser

    parsed = parser().parse_args(container(render(NAMESPACES, "apiRequestsPerSecond=70"))["args"])
    assert parsed.qps == 70
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


def test_workloads_are_read_only_where_there_is_kueue(render: Render) -> None:
    from likeness_operator.main import parser

    def of_kueue(*values: str) -> list[list[str]]:
        return [rule["verbs"] for rule in rules(render(*values)) if rule["apiGroups"] == ["kueue.x-k8s.io"]]

    assert of_kueue() == []
    assert of_kueue("kueue.enabled=true") == [["list"]]
    assert not parser().parse_args(container(render())["args"]).kueue
    assert parser().parse_args(container(render("kueue.enabled=true"))["args"]).kueue


def test_pods_report_to_the_port_that_the_operator_listens_on(render: Render) -> None:
    from likeness_operator.main import parser

    objects = render("networkPolicy.enabled=true")
    parsed = parser().parse_args(container(objects)["args"])
    (service,), (policy,) = of_kind(objects, "Service"), of_kind(objects, "NetworkPolicy")
    (port,) = [port for port in service["spec"]["ports"] if port["name"] == "progress"]
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{port['port']}"
    assert parsed.progress_url == f"http://{address}/progress"
    assert {"name": "progress", "containerPort": parsed.progress_port} in container(objects)["ports"]
    (reports,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "progress"]
    assert reports["from"] == [{"namespaceSelector": {}}]


def test_without_progress_nobody_listens_and_no_token_may_be_checked(render: Render) -> None:
    objects = render("progress.enabled=false", "networkPolicy.enabled=true")
    assert not [word for word in container(objects)["args"] if "progress" in word]
    assert "progress" not in json.dumps([of_kind(objects, "Service"), of_kind(objects, "NetworkPolicy")])
    assert "tokenreviews" not in json.dumps(rules(objects))


def test_a_single_operator_may_be_drained(render: Render) -> None:
    assert of_kind(render("replicas=1"), "PodDisruptionBudget") == []


MONITORED = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "grafanaDashboard.enabled=true")


def test_what_needs_other_peoples_crds_is_left_out_unless_asked_for(render: Render) -> None:
    kinds = {"ServiceMonitor", "PrometheusRule"}
    assert not kinds & {manifest["kind"] for manifest in render()}
    asked = render(*MONITORED)
    assert kinds <= {manifest["kind"] for manifest in asked}


def test_dashboard_and_alerts_name_only_metrics_that_there_are(render: Render) -> None:
    from likeness_operator.metrics import REGISTRY

    known = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    # One with labels has no sample before it is used.
    known |= {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in REGISTRY.collect()}
    objects = render(*MONITORED)
    (rule,) = of_kind(objects, "PrometheusRule")
    (dashboard,) = of_kind(objects, "ConfigMap")
    panels = json.loads(dashboard["data"]["likeness.json"])["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    alerts = [alert["expr"] for group in rule["spec"]["groups"] for alert in group["rules"]]
    used = set(re.findall(r"\blikeness_\w+", " ".join(shown + alerts)))
    assert len(used) > 10
    assert used <= known


def test_every_alert_has_its_steps_and_every_metric_its_line_in_the_operations_page(render: Render) -> None:
    from likeness_operator.metrics import REGISTRY

    page = (CHART.parents[1] / "docs/operations.md").read_text()
    (rule,) = of_kind(render(*MONITORED), "PrometheusRule")
    for alert in rule["spec"]["groups"][0]["rules"]:
        assert alert["annotations"]["description"]
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
        assert f"\n### {alert['alert']}\n" in page
    described = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in REGISTRY.collect()}
    assert set(re.findall(r"^\| `(likeness_\w+)", page, re.MULTILINE)) == described


def test_an_alert_names_only_reasons_that_are_explained(render: Render) -> None:
    page = (CHART.parents[1] / "docs/troubleshooting.md").read_text()
    (rule,) = of_kind(render(*MONITORED), "PrometheusRule")
    expressions = " ".join(alert["expr"] for alert in rule["spec"]["groups"][0]["rules"])
    reasons = {reason for found in re.findall(r'reason!?=?~"([^"]+)"', expressions) for reason in found.split("|")}
    assert len(reasons) > 10
    explained = re.findall(r"`(\w+)`", page)
    assert [reason for reason in reasons if not any(re.fullmatch(reason, word) for word in explained)] == []


def test_every_metric_is_shown(render: Render) -> None:
    from likeness_operator.metrics import REGISTRY

    (dashboard,) = of_kind(render(*MONITORED), "ConfigMap")
    missing = [metric.name for metric in REGISTRY.collect() if metric.name not in dashboard["data"]["likeness.json"]]
    assert missing == []


def test_the_monitor_finds_the_service(render: Render) -> None:
    objects = render(*MONITORED)
    (monitor,), (service,) = of_kind(objects, "ServiceMonitor"), of_kind(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_the_network_policy_covers_the_operator_and_its_port(render: Render) -> None:
    cidrs = "networkPolicy.apiServerCidrs={10.0.0.1/32}"
    objects = render("networkPolicy.egress=true", cidrs)
    (policy,), (deployment,) = of_kind(objects, "NetworkPolicy"), of_kind(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["ingress"][0]["ports"][0]["port"] == container(objects)["ports"][0]["name"]
    names, server = policy["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert server["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_by_default_the_network_policy_keeps_nothing_in_and_no_pod_is_told_by_its_labels(render: Render) -> None:
    (policy,) = of_kind(render(), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "egress" not in policy["spec"]
    (progress,) = [each for each in policy["spec"]["ingress"] if each["ports"][0]["port"] == "progress"]
    assert progress["from"] == [{"namespaceSelector": {}}]
    (policy,) = of_kind(render("watchNamespaces={shop,studio}"), "NetworkPolicy")
    (progress,) = [each for each in policy["spec"]["ingress"] if each["ports"][0]["port"] == "progress"]
    names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "studio"]}
    assert progress["from"] == [{"namespaceSelector": {"matchExpressions": [names]}}]


def test_helm_test_reaches_the_metrics_though_only_some_may_ask_for_them(render: Render) -> None:
    monitoring = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring"
    objects = render("networkPolicy.enabled=true", monitoring)
    (policy,), (pod,) = of_kind(objects, "NetworkPolicy"), of_kind(objects, "Pod")
    asked, tested = policy["spec"]["ingress"][0]["from"]
    assert asked == {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    assert tested["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (everybody,) = of_kind(render("networkPolicy.enabled=true"), "NetworkPolicy")
    assert "from" not in everybody["spec"]["ingress"][0]


def test_people_get_rights_with_the_clusters_own_roles_but_not_over_profiles(render: Render) -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(render(), "ClusterRole")}

    def aggregated(name: str) -> set[str]:
        labels = roles[name]["metadata"]["labels"]
        return {label.rpartition("-")[2] for label in labels if "aggregate-to" in label}

    assert aggregated("likeness-viewer") == {"view", "edit", "admin"}
    assert aggregated("likeness-editor") == {"edit", "admin"}
    assert aggregated("likeness-profile-admin") == set()
    for name in ("likeness-viewer", "likeness-editor"):
        assert roles[name]["rules"][0]["resources"] == ["personalizations", "personalizationbatches"]
    assert {role["metadata"]["name"] for role in of_kind(render("userRoles.create=false"), "ClusterRole")} == {
        "likeness-operator",
        "likeness-uninstall",
    }


def test_helm_test_asks_the_service_and_fits_the_restricted_level(render: Render) -> None:
    objects = render()
    (pod,), (service,) = of_kind(objects, "Pod"), of_kind(objects, "Service")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (ask,) = pod["spec"]["containers"]
    address = f"http://{service['metadata']['name']}.system.svc:{service['spec']['ports'][0]['port']}"
    assert address in ask["args"][0]
    compile(ask["args"][0], "helm test", "exec")
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert ask["securityContext"] == container(objects)["securityContext"]
    assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("values", [(), (NAMESPACES,)], ids=["cluster-wide", "by-namespace"])
def test_before_it_goes_finalizers_are_taken_off_with_no_other_right(render: Render, values: tuple[str, ...]) -> None:
    from likeness_operator.uninstall import hook_parser as parser

    objects = render(*values)
    hooks = [
        each for each in objects if "pre-delete" in each["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    ]
    rights = {
        json.dumps([rule["resources"], rule.get("resourceNames"), rule["verbs"]])
        for each in hooks
        for rule in each.get("rules", [])
    }
    assert rights == {
        json.dumps([["personalizations", "personalizationbatches"], None, ["list", "patch"]]),
        json.dumps([["deployments/scale"], ["likeness-operator"], ["patch"]]),
        json.dumps([["leases"], ["likeness-operator"], ["get", "update"]]),
    }
    (job,) = of_kind(hooks, "Job")
    (only,) = job["spec"]["template"]["spec"]["containers"]
    parsed = parser().parse_args(only["args"])
    assert parsed.operator == LeaseName("system", "likeness-operator")
    assert parsed.namespace == (["shop", "studio"] if values else [])
    assert only["securityContext"] == container(objects)["securityContext"]
    assert {account["metadata"]["name"] for account in of_kind(hooks, "ServiceAccount")} == {"likeness-uninstall"}


def test_the_crds_are_those_that_the_operator_answers_and_stay_when_the_chart_goes(render: Render) -> None:
    rendered = {crd["metadata"]["name"]: crd for crd in of_kind(render(), "CustomResourceDefinition")}
    assert rendered.keys() == {f"{kind.plural}.likeness.dev" for kind in KINDS}
    for kind in KINDS:
        crd = manifest(kind)
        mine = rendered[crd["metadata"]["name"]]
        assert mine["spec"] == crd["spec"]
        assert mine["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("values", [(), (NAMESPACES,), ("kueue.enabled=true",)], ids=["cluster-wide", "some", "kueue"])
def test_each_kind_is_granted_and_nothing_else_of_ours(render: Render, values: tuple[str, ...]) -> None:
    objects = render(*values)
    roles = of_kind(objects, "ClusterRole") + of_kind(objects, "Role")
    ours = {
        resource.partition("/")[0]
        for role in roles
        for rule in role["rules"]
        if "likeness.dev" in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert ours == {kind.plural for kind in KINDS}


def test_crds_can_be_left_to_somebody_else(render: Render) -> None:
    assert of_kind(render("crds.install=false"), "CustomResourceDefinition") == []


def test_each_pod_of_the_chart_fits_the_restricted_level(render: Render) -> None:
    objects = render()
    templated = of_kind(objects, "Deployment") + of_kind(objects, "Job")
    pods = [each["spec"]["template"]["spec"] for each in templated] + [each["spec"] for each in of_kind(objects, "Pod")]
    assert len(pods) == 3  # the operator's, the one before an uninstallation, `helm test`
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [each["securityContext"] for each in pod["containers"]] == [
            {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        ]


POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"


def names(objects: list[dict[str, Any]], kind: str) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in of_kind(objects, kind)}


def namespaces_of(objects: list[dict[str, Any]]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Policy -> the namespaces that it is bound to or not."""
    found = {}
    for binding in of_kind(objects, BINDING):
        resources = binding["spec"].get("matchResources", {"namespaceSelector": {"matchExpressions": []}})
        expressions = resources["namespaceSelector"]["matchExpressions"]
        assert {each["key"] for each in expressions} <= {"kubernetes.io/metadata.name"}
        found[binding["spec"]["policyName"]] = [(each["operator"], tuple(each["values"])) for each in expressions]
    return found


def test_a_release_for_some_namespaces_makes_no_policy_for_the_cluster_unless_told_to(render: Render) -> None:
    assert names(render(), POLICY) == names(render(), BINDING) == namespaces_of(render()).keys()
    assert len(names(render(), POLICY)) == 5
    for values in ((NAMESPACES,), ("admissionPolicy.enabled=false",)):
        assert not {POLICY, BINDING} & {manifest["kind"] for manifest in render(*values)}
    asked = namespaces_of(render(NAMESPACES, "admissionPolicy.enabled=true"))
    assert asked.keys() == names(render(), POLICY)
    assert set(map(tuple, asked.values())) == {(("In", ("shop", "studio")),)}  # other releases' Jobs are elsewhere


def test_every_policy_refuses_and_fails_closed_and_an_exempt_namespace_is_free_of_one(render: Render) -> None:
    objects = render("admissionPolicy.exemptNamespaces={gpu}")
    assert {policy["spec"]["failurePolicy"] for policy in of_kind(objects, POLICY)} == {"Fail"}
    assert all(binding["spec"]["validationActions"] == ["Deny"] for binding in of_kind(objects, BINDING))
    exempt = {policy: selected for policy, selected in namespaces_of(objects).items() if selected}
    assert exempt == {"likeness-created-jobs": [("NotIn", ("gpu",))]}


@pytest.mark.parametrize(
    ("values", "account"),
    [
        pytest.param((), "likeness-operator", id="its-own"),
        pytest.param(("serviceAccount.create=false", "serviceAccount.name=mine"), "mine", id="given"),
    ],
)
def test_policies_know_the_operator_by_the_account_that_it_runs_as(
    render: Render, values: tuple[str, ...], account: str
) -> None:
    objects = render(*values)
    (deployment,) = of_kind(objects, "Deployment")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account
    known = set(re.findall(r"'(system:serviceaccount:system:[^']+)'", json.dumps(of_kind(objects, POLICY))))
    assert known == {f"system:serviceaccount:system:{account}"}


def test_policies_name_labels_keys_and_audience_as_the_operator_writes_them(render: Render) -> None:
    from likeness_api.progress_report import PROGRESS_AUDIENCE
    from likeness_operator.kubernetes import label
    from likeness_operator.personalization.job import SECRET_KEYS

    text = json.dumps(of_kind(render(), POLICY))
    whose = {label.PERSONALIZATION_NAME, label.BATCH_NAME, label.ERASES}
    labels = {label.MANAGED_BY, label.COMPONENT, label.PROFILE, *whose}
    assert set(re.findall(r"'((?:app\.kubernetes\.io|likeness\.dev)/[a-z-]+)'", text)) == labels
    assert set(re.findall(r"'(AWS_[A-Z_]+)'", text)) == SECRET_KEYS.keys()
    for word in (PROGRESS_AUDIENCE, label.PRODUCT, label.ERASER):
        assert f"== '{word}'" in text
    assert f"['{label.PLANNER}', '{label.WORKER}', '{label.COLLECTOR}', '{label.ERASER}']" in text
    assert f"['{label.TUNER}', '{label.ERASER}']" in text


def test_tuners_get_a_service_account_and_no_right(render: Render) -> None:
    tuner = "tunerServiceAccounts[0]"
    objects = render(f"{tuner}.namespace=shop", f"{tuner}.name=tuner", f"{tuner}.annotations.role=painter")
    (account,) = [found for found in of_kind(objects, "ServiceAccount") if found["metadata"]["namespace"] == "shop"]
    assert account["metadata"]["annotations"] == {"role": "painter"}
    assert account["automountServiceAccountToken"] is False
    bindings = of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding")
    bound = {subject["name"] for binding in bindings for subject in binding["subjects"]}
    assert bound == {"likeness-operator", "likeness-uninstall"}


@pytest.mark.parametrize(
    "value",
    [
        "imge.tag=1",
        "image.tags=1",
        "resources.limit.cpu=1",
        "watchNamespaces={Shop}",
        "admissionPolicy.enabled=perhaps",
        "admissionPolicy.images={runtime}",
        "admissionPolicy.podCreators={it's}",
        "logFormat=xml",
        "crds.keep=no",
        "replicas=-1",
        "networkPolicy.on=true",
    ],
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
    assert chart["appVersion"] == version("likeness-tuner")
