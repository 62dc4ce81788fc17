"""The alert rules are ones that Prometheus takes, and ask for metrics of the service."""

import re
import shutil
import subprocess

import pytest
import yaml

from service.telemetry import REGISTRY
from tests.support.paths import ROOT

ALERTS = ROOT / "deploy" / "alerts.yml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_every_rule_asks_for_metrics_of_the_service_and_says_what_to_do():
    served = {m.name + ("_total" if m.type == "counter" else "") for m in REGISTRY.collect()}
    for rule in RULES:
        names = set(re.findall(r"eclip_\w+", rule["expr"]))
        assert names
        assert names <= served, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", ALERTS), ("test", "rules", ROOT / "tests/deploy/alerts_test.yml")],
)
def test_prometheus_takes_the_rules_and_they_fire_as_they_should(arguments):
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
