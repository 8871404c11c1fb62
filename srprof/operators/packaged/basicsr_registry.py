"""Stands in for `basicsr.utils.registry`: what is registered stays as it is."""


class Registry:
    """A decorator that registers nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def register(self, obj=None, suffix=None):
        """As a decorator with and without parentheses."""
        return (lambda cls: cls) if obj is None else obj


ARCH_REGISTRY = Registry("arch")
MODEL_REGISTRY = Registry("model")
LOSS_REGISTRY = Registry("loss")
METRIC_REGISTRY = Registry("metric")
DATASET_REGISTRY = Registry("dataset")
