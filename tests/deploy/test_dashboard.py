"""The Grafana dashboard shows every metric of the service, and no other."""

import json
import re

from service.telemetry import REGISTRY
from tests.support.paths import ROOT

PANELS = json.loads((ROOT / "deploy" / "grafana.json").read_text())["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_metric_of_the_dashboard_is_one_of_the_service():
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    served = {
        metric.name + suffix: metric
        for metric in REGISTRY.collect()
        for suffix in suffixes[metric.type]
    }
    for expression in EXPRESSIONS:
        names = re.findall(r"eclip_\w+", expression)
        assert names
        assert set(names) <= served.keys(), expression


def test_every_metric_of_the_service_is_on_the_dashboard():
    shown = " ".join(EXPRESSIONS)
    assert [metric.name for metric in REGISTRY.collect() if metric.name not in shown] == []
