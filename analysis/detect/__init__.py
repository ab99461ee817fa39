"""The detectors: a table of files that do not know each other, and the panel that asks them all.

In: settings, then the tables of an analysis. Out: findings, worst first, and what could not be judged. A detector is
a module with `NAME`, `Thresholds`, `blocked(evidence, limits)` and `detect(evidence, limits)`; a new one is one file,
one line here and its cases in tests/cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from analysis import stories, watchlist
from analysis.assess import Blocked
from analysis.detect import (
    amplification,
    arp_spoofing,
    beacon,
    brute_force,
    clear_text,
    dga,
    dhcp_attack,
    directory_attack,
    distributed_guessing,
    dns_anomaly,
    dns_beacon,
    dns_tunnel,
    exfiltration,
    exploit,
    failed_connections,
    fingerprinting,
    flood,
    http_c2,
    icmp_error_flood,
    icmp_tunnel,
    intel,
    lab_chat,
    lateral_movement,
    link_attack,
    long_connection,
    name_poisoning,
    port_scan,
    program_transfer,
    raw_flood,
    remote_control,
    router_advert,
    slow_requests,
    surge,
    sweep,
    tls_c2,
    tls_weakness,
    tunnels,
    unusual_port,
    web_attack,
)
from analysis.evidence import Evidence, Tables, gather
from analysis.findings import Finding, NotAssessable
from analysis.hosts import trusted_networks
from analysis.named_tuples import NamedTuple
from analysis.thresholds import changes, configured


class Detector(Protocol):
    """What the table below holds: a module of this package."""

    @property
    def __doc__(self) -> str | None: ...  # type: ignore[override]
    @property
    def NAME(self) -> str: ...
    @property
    def Thresholds(self) -> Any: ...
    @property
    def blocked(self) -> Any: ...
    @property
    def detect(self) -> Any: ...


class Wanted(Protocol):
    """What is asked of the settings."""

    @property
    def trusted(self) -> tuple[str, ...]: ...
    @property
    def intel(self) -> str | None: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...


DETECTORS: tuple[Detector, ...] = (
    surge,
    flood,
    raw_flood,
    icmp_error_flood,
    slow_requests,
    amplification,
    port_scan,
    sweep,
    fingerprinting,
    brute_force,
    distributed_guessing,
    exploit,
    web_attack,
    program_transfer,
    remote_control,
    http_c2,
    tls_c2,
    directory_attack,
    lateral_movement,
    beacon,
    long_connection,
    exfiltration,
    dns_tunnel,
    dns_beacon,
    dns_anomaly,
    dga,
    icmp_tunnel,
    tunnels,
    arp_spoofing,
    dhcp_attack,
    router_advert,
    link_attack,
    name_poisoning,
    intel,
    clear_text,
    lab_chat,
    tls_weakness,
    unusual_port,
    failed_connections,
)


FLOODS, OTHERS, ALL = slice(0, 5), slice(5, None), slice(None)  # of DETECTORS: a quarter of their time, the rest, all


class Opinion(NamedTuple):
    """What one detector said, or why it could not judge."""

    detector: str
    findings: list[Finding]
    reason: Blocked


class Panel:
    """All detectors, ready to be asked: what the settings say has been read and judged."""

    def __init__(self, settings: Wanted) -> None:
        """Changed thresholds by detector name come in `settings.extra["thresholds"]` or from the TOML file named by
        `settings.extra["thresholds_file"]`.

        Raises AnalysisError for a threshold, watch list or trusted network that cannot be.
        """
        self._networks = trusted_networks(settings.trusted)
        self._watchlist = watchlist.load(settings.intel)
        changed = changes(settings.extra, tuple(detector.NAME for detector in DETECTORS))
        self._limits = [
            configured(detector.Thresholds, changed.get(detector.NAME, {}), f"thresholds.{detector.NAME}")
            for detector in DETECTORS
        ]

    def judge(self, tables: Tables) -> tuple[tuple[Finding, ...], tuple[NotAssessable, ...]]:
        """Ask every detector."""
        return told(self.ask(self.evidence(tables), ALL))

    def evidence(self, tables: Tables) -> Evidence:
        """What detectors are shown."""
        return gather(tables, self._networks, self._watchlist)

    def ask(self, evidence: Evidence, some: slice) -> list[Opinion]:
        """Ask some detectors. They do not know each other: it does not matter who is asked where."""
        return [_ask(detector, evidence, limits) for detector, limits in zip(DETECTORS[some], self._limits[some])]


def told(opinions: Iterable[Opinion]) -> tuple[tuple[Finding, ...], tuple[NotAssessable, ...]]:
    """What all detectors said, in their order: findings, worst first, and what could not be judged."""
    opinions = list(opinions)
    findings = [finding for opinion in opinions for finding in opinion.findings]
    silent = tuple(
        NotAssessable(opinion.detector, *opinion.reason) for opinion in opinions if opinion.reason is not None
    )
    return stories.told(findings), silent


def _ask(detector: Detector, evidence: Evidence, limits: Any) -> Opinion:
    reason: Blocked = detector.blocked(evidence, limits)
    return Opinion(detector.NAME, [] if reason is not None else list(detector.detect(evidence, limits)), reason)
