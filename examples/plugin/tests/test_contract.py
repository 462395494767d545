from zero_out import method, metric

from atman_bench.testing import MethodContract, MetricContract


class TestMethod(MethodContract):
    spec = method.SPEC


class TestMetric(MetricContract):
    spec = metric.SPEC
