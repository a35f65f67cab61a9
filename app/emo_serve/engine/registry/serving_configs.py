"""Serving configs of all models of the repository, and the aliases that hold."""

from collections.abc import Mapping
from pathlib import Path

from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.registry.traffic import Target
from emo_serve.engine.repository.artefacts import SERVING_CONFIG_FILE, RepositoryState
from emo_serve.engine.repository.serving_config import ServingConfig, parse_serving_config
from emo_serve.errors import StartupError

Deployments = Mapping[str, Mapping[str, Deployment]]
"""Name -> version -> deployment."""


class ServingConfigs:
    """The last readable config of each model, and its aliases; used on one event loop."""

    def __init__(self) -> None:
        self.targets: dict[str, dict[str, Target]] = {}
        """Name -> alias -> what it names: as configured if all of that is served, else as before."""
        self.aliases: dict[str, dict[str, str]] = {}
        """Name -> alias -> version of its target."""
        self._configs: dict[str, ServingConfig] = {}

    def of(self, name: str) -> ServingConfig:
        """The config of this model, empty if it has none."""
        return self._configs.get(name, ServingConfig())

    def read(self, seen: RepositoryState, failures: dict[Path, str], deployments: Deployments) -> None:
        """Read the configs again; a model whose file is broken keeps its last one, and the fault joins ``failures``."""
        configs: dict[str, ServingConfig] = {}
        for path in (*seen.serving_configs, *(path for path in failures if path.name == SERVING_CONFIG_FILE)):
            name = path.parent.name
            try:
                if path in seen.serving_configs:
                    configs[name] = parse_serving_config(path, seen.serving_configs[path])
                    continue
            except StartupError as error:
                failures[path] = str(error)
            if name in self._configs:
                configs[name] = self._configs[name]
            elif name not in deployments:  # its pins are unknown, so none may answer
                versions = frozenset(folder.name for folder in seen.versions if folder.parent.name == name)
                configs[name] = ServingConfig.model_construct(aliases={}, unloaded=versions)
        self._configs = configs

    def users(self, name: str, version: str) -> list[str]:
        """The aliases that need this version: that name it, are split with it or have it as a shadow."""
        return [alias for alias, target in self.targets.get(name, {}).items() if version in target.versions]

    def resolve(self, deployments: Deployments) -> list[tuple[str, str]]:
        """Point aliases at what is configured and served; returns the names, and what is wrong, where that cannot be.

        There everything about the alias stays as it was; where it was nothing, the configured version answers alone.
        """
        unresolved = []
        targets: dict[str, dict[str, Target]] = {}
        for name, config in self._configs.items():
            served, before = deployments.get(name, {}), self.targets.get(name, {})
            for alias, version in config.aliases.items():
                target = Target(version, config.splits.get(alias), config.shadows.get(alias))
                if (fault := target.fault(alias, served)) is not None:
                    unresolved.append((name, fault))
                    target = before.get(alias, Target(version))
                targets.setdefault(name, {})[alias] = target
        self.targets = targets
        self.aliases = {
            name: {alias: target.version for alias, target in named.items()} for name, named in targets.items()
        }
        return unresolved
