"""Makes the Grafana dashboards and the Prometheus rules: ``python deploy/observe.py`` (needs the ``test`` extra).

Panels and alerts are written once, here; the files beside are what this prints, and a test compares them. Every query
below is asked of a real Prometheus in tests/deploy.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef

FOLDER = Path(__file__).parent
RUNBOOK = "README.md"
"""Where the runbook is: its heading of an alert is the alert's name."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: queries and the legend of each series. ``small``: a single number instead of lines."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    what: str = ""
    small: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """``watched`` always has a value; ``fires`` says with it when something is wrong, for how long, and what then."""

    name: str
    watched: str
    fires: str
    lasting: str
    severity: str
    summary: str

    @property
    def expression(self) -> str:
        return self.fires.replace("WATCHED", self.watched)


WINDOW = "$__rate_interval"
"""Grafana's: some scrapes long, whatever the zoom."""


def quantile(part: float, metric: str, where: str = "", by: str = "stage", window: str = WINDOW) -> str:
    return f"histogram_quantile({part}, sum by (le, {by}) (rate({metric}_bucket{where}[{window}])))"


def quantiles(metric: str, where: str = "") -> list[tuple[str, str]]:
    """The middle and the end of a distribution, by stage."""
    return [(quantile(part, metric, where), f"{{{{stage}}}} p{part * 100:.0f}") for part in (0.5, 0.99)]


def rate(metric: str, by: str, window: str = WINDOW) -> str:
    return f"sum by ({by}) (rate({metric}[{window}]))"


def by(label: str, metric: str) -> tuple[str, str]:
    """A level as it is, a line a label."""
    return metric, f"{{{{{label}}}}}"


def flow(label: str, metric: str) -> tuple[str, str]:
    """A counter a second, a line a label."""
    return rate(metric, label), f"{{{{{label}}}}}"


RECORDED = {
    "stage:marketswarm_latency_seconds:p50": quantile(0.5, "marketswarm_latency_seconds", window="1m"),
    "stage:marketswarm_latency_seconds:p99": quantile(0.99, "marketswarm_latency_seconds", window="1m"),
    "stage:marketswarm_tick_seconds:p50": quantile(0.5, "marketswarm_tick_seconds", window="1m"),
    "stage:marketswarm_tick_seconds:p99": quantile(0.99, "marketswarm_tick_seconds", window="1m"),
    "stage:marketswarm_entries_committed:rate1m": rate("marketswarm_entries_committed_total", "stage", "1m"),
    "stage:marketswarm_errors:rate5m": rate("marketswarm_errors_total", "stage", "5m"),
    "outcome:marketswarm_events:rate1m": rate('marketswarm_events_total{stage="hydrate"}', "outcome", "1m"),
}

OPEN = "and on () (marketswarm_market_open == 1)"
READERS = "vigil|vexy|gateway"
ALERTS = (
    Alert("RedisDown", "marketswarm_redis_up", "WATCHED == 0", "10s", "critical",
          "Redis does not answer the exporter"),
    Alert("ExporterDown", "marketswarm_redis_up", "absent(WATCHED)", "1m", "critical",
          "nobody tells how Redis and the stages fare"),
    Alert("StageDown", f'marketswarm_workers{{stage!~"{READERS}"}}', "WATCHED == 0", "30s", "critical",
          "no process of {{ $labels.stage }} works"),
    Alert("ReaderDown", f'marketswarm_workers{{stage=~"{READERS}"}}', "WATCHED == 0", "2m", "warning",
          "no process of {{ $labels.stage }} works; models are published all the same"),
    Alert("TargetDown", 'up{job="marketswarm"}', "WATCHED == 0", "30s", "warning",
          "{{ $labels.role }} at {{ $labels.instance }} does not answer Prometheus"),
    Alert("WorkerNotReady", "marketswarm_ready", "WATCHED == 0", "1m", "warning",
          "{{ $labels.role }} at {{ $labels.instance }} cannot do its work; /readyz says why"),
    Alert("StageBehind", "marketswarm_stage_oldest_undelivered_seconds", "WATCHED > 10", "1m", "warning",
          "{{ $labels.stage }} has not read an entry that is {{ $value | humanizeDuration }} old"),
    Alert("PendingStuck", "marketswarm_stage_oldest_pending_seconds", "WATCHED > 120", "1m", "warning",
          "{{ $labels.stage }} has read an entry {{ $value | humanizeDuration }} ago and not done it"),
    Alert("TickSlow", 'stage:marketswarm_tick_seconds:p99{stage="models"}', "WATCHED > 2", "5m", "warning",
          "a tick takes {{ $value | humanizeDuration }} to its publication (p99)"),
    Alert("DirtyTooLong", "marketswarm_dirty_seconds", "WATCHED > 30", "1m", "warning",
          "a pane of {{ $labels.symbol }} has been waiting for {{ $value | humanizeDuration }}"),
    Alert("ModelsOld", 'marketswarm_model_age_seconds{model="heatmap"}', f"WATCHED > 30 {OPEN}", "1m", "critical",
          "the heatmap of {{ $labels.symbol }} is {{ $value | humanizeDuration }} old and the market is open"),
    Alert("FeedSilent", "marketswarm_feed_silence_seconds", f"WATCHED > 15 {OPEN}", "30s", "critical",
          "no option frame of {{ $labels.symbol }} for {{ $value | humanizeDuration }}"),
    Alert("ChainOld", "marketswarm_chain_age_seconds", f"WATCHED > 180 {OPEN}", "1m", "warning",
          "the chain of {{ $labels.symbol }} is {{ $value | humanizeDuration }} old"),
    Alert("EpochsFlap", "increase(marketswarm_promotions_total[10m])", "WATCHED > 20", "1m", "warning",
          "{{ $value | humanize }} epochs were promoted in ten minutes"),
    Alert("GeometryMisses",
          'sum(rate(marketswarm_events_total{stage="hydrate",outcome="geometry_miss"}[5m]))'
          ' / sum(rate(marketswarm_events_total{stage="hydrate",outcome="events"}[5m]))',
          "WATCHED > 0.05", "5m", "warning",
          "{{ $value | humanizePercentage }} of the events are of contracts that no chain lists"),
    Alert("DeadLetters", "marketswarm_dead_letters", "WATCHED > 0", "0s", "warning",
          "{{ $value }} entries could not be done"),
    Alert("EntriesLost", "sum by (stage) (increase(marketswarm_entries_lost_total[10m]))", "WATCHED > 0", "0s",
          "critical", "{{ $labels.stage }} lost entries that were trimmed before they were done"),
    Alert("Drift", "increase(marketswarm_drift_panes_total[1h])", "WATCHED > 0", "0s", "critical",
          "stored tiles are not what their contracts give"),
    Alert("Repairs", "increase(marketswarm_repairs_total[1h])", "WATCHED > 0", "0s", "warning",
          "the keeper queued again what nobody would have done"),
    Alert("Errors", "stage:marketswarm_errors:rate5m", "WATCHED > 0.2", "2m", "warning",
          "{{ $labels.stage }} fails {{ $value | humanize }} times a second"),
    Alert("RedisNotDurable", "marketswarm_redis_aof_enabled * marketswarm_redis_aof_ok", "WATCHED == 0", "1m",
          "critical", "the append-only file is off, or its last write failed"),
    Alert("RedisMemory", "marketswarm_redis_memory_bytes",
          "WATCHED / (marketswarm_redis_memory_max_bytes > 0) > 0.8", "2m", "critical",
          "{{ $value | humanizePercentage }} of maxmemory is used"),
    Alert("RedisEvicts", "increase(marketswarm_redis_evicted_keys_total[10m])", "WATCHED > 0", "0s", "critical",
          "Redis drops keys: marks and contracts may be among them"),
    Alert("RedisBusy", "rate(marketswarm_redis_cpu_seconds_total[1m])", "WATCHED > 0.9", "5m", "warning",
          "Redis works {{ $value | humanizePercentage }} of the time: more consumers will not help"),
    Alert("StreamHeld", "marketswarm_stream_kept_seconds", "WATCHED > 3600", "10m", "warning",
          "the stream {{ $labels.stream }} is not trimmed: a group that nobody serves holds it"),
)

HYDRATED = 'marketswarm_events_total{stage="hydrate"}'
DASHBOARDS: dict[str, tuple[str, Sequence[Panel]]] = {
    "overview": ("Overview", (
        Panel("Processes", [("sum(marketswarm_workers)", "")], what="That registered lately", small=True),
        Panel("Not ready", [("count(marketswarm_ready == 0) or vector(0)", "")], small=True),
        Panel("Dead letters", [("marketswarm_dead_letters", "")], small=True),
        Panel("Drift", [("marketswarm_drift_panes_total", "")], what="Must stay 0", small=True),
        Panel("Tick to publication, p99", [('stage:marketswarm_tick_seconds:p99{stage="models"}', "")], "s",
              small=True),
        Panel("Oldest model", [("max(marketswarm_model_age_seconds)", "")], "s", small=True),
        Panel("Events", [flow("outcome", HYDRATED)], "ops", "What became of the provider's events in hydrate"),
        Panel("Tick, the sum of the way", quantiles("marketswarm_tick_seconds"), "s",
              "From the input stream's entry of the oldest event to: calculated, published, sent"),
        Panel("Lag", [by("stage", "marketswarm_stage_lag_entries")], what="Entries nobody has read"),
        Panel("Publications", [flow("symbol", "marketswarm_model_versions_total")], "ops"),
        Panel("Errors", [(rate("marketswarm_errors_total", "stage, reason"), "{{stage}} {{reason}}")], "ops"),
        Panel("Processes by stage", [by("stage", "marketswarm_workers")]),
        Panel("Browsers", [("sum(marketswarm_gateway_clients)", "streams")], what="Open streams of events"),
        Panel("Browsers begun anew, resumed, cut off, refused", [
            ("sum(rate(marketswarm_gateway_snapshots_total[$__rate_interval]))", "whole documents"),
            ("sum(rate(marketswarm_gateway_resumed_total[$__rate_interval]))", "resumed"),
            ("sum(rate(marketswarm_gateway_stuck_total[$__rate_interval]))", "cut off"),
            ("sum(rate(marketswarm_gateway_refused_total[$__rate_interval]))", "refused"),
        ], "ops"),
    )),
    "way": ("The way of a tick", (
        Panel("Provider to socket", quantiles("marketswarm_provider_delay_seconds"), "s",
              "From the provider's time of an event to its receipt"),
        Panel("Socket to stream", quantiles("marketswarm_latency_seconds", '{stage=~"socket|spot"}'), "s",
              "From the receipt of a frame to its entry"),
        Panel("Stream to hydrated", quantiles("marketswarm_latency_seconds", '{stage="hydrate"}'), "s"),
        Panel("Hydrated to calculated", quantiles("marketswarm_latency_seconds", '{stage="calculate"}'), "s"),
        Panel("Calculated to published", quantiles("marketswarm_latency_seconds", '{stage="models"}'), "s"),
        Panel("Published to sent and told", quantiles("marketswarm_latency_seconds", '{stage=~"gateway|vigil|vexy"}'),
              "s"),
        Panel("The sum", quantiles("marketswarm_tick_seconds"), "s",
              "From the input stream's entry of the oldest event behind a batch to its commit in each stage"),
        Panel("Time to commit a batch", quantiles("marketswarm_batch_seconds"), "s"),
    )),
    "stages": ("Stages", (
        Panel("Entries done", [("stage:marketswarm_entries_committed:rate1m", "{{stage}}")], "ops"),
        Panel("Lag", [by("stage", "marketswarm_stage_lag_entries")]),
        Panel("Read and not done", [by("stage", "marketswarm_stage_pending_entries")]),
        Panel("Oldest entry nobody has read", [by("stage", "marketswarm_stage_oldest_undelivered_seconds")], "s"),
        Panel("Oldest entry not done", [by("stage", "marketswarm_stage_oldest_pending_seconds")], "s"),
        Panel("Consumers", [by("stage", "marketswarm_stage_consumers")]),
        Panel("Batch sizes", quantiles("marketswarm_batch_entries")),
        Panel("Entries read", [flow("stage", "marketswarm_entries_read_total")], "ops"),
        Panel("Retried, taken over, gone", [
            (rate("marketswarm_retries_total", "stage"), "{{stage}} retried"),
            (rate("marketswarm_entries_reclaimed_total", "stage"), "{{stage}} taken over"),
            (rate("marketswarm_entries_gone_total", "stage"), "{{stage}} done by another"),
        ], "ops"),
        Panel("Buried and lost", [
            (rate("marketswarm_entries_dead_total", "stage"), "{{stage}} buried"),
            (rate("marketswarm_entries_lost_total", "stage"), "{{stage}} lost"),
        ], "ops"),
        Panel("Script time", [(rate("marketswarm_script_seconds_total", "script") + " / "
                               + rate("marketswarm_script_calls_total", "script"), "{{script}}")], "s",
              "Of a call, to its reply"),
        Panel("Script calls", [flow("script", "marketswarm_script_calls_total")], "ops"),
        Panel("Commits refused", [(rate("marketswarm_script_refusals_total", "script, reason"),
                                   "{{script}} {{reason}}")], "ops"),
        Panel("Memory of a process", [by("role", "max by (role) (process_resident_memory_bytes)")], "bytes"),
        Panel("CPU of a stage", [(rate("process_cpu_seconds_total", "role"), "{{role}}")], "percentunit"),
    )),
    "epochs": ("Epochs and models", (
        Panel("Age of the epoch", [by("symbol", "marketswarm_epoch_age_seconds")], "s"),
        Panel("Promotions and refreshes", [
            ("rate(marketswarm_promotions_total[$__rate_interval])", "promoted"),
            ("rate(marketswarm_refreshes_total[$__rate_interval])", "refreshed"),
        ], "ops"),
        Panel("Contracts", [by("symbol", "marketswarm_epoch_contracts")]),
        Panel("Dirty panes", [by("symbol", "marketswarm_dirty_panes"), ("marketswarm_epoch_panes", "{{symbol}} all")]),
        Panel("Longest wait of a dirty pane", [by("symbol", "marketswarm_dirty_seconds")], "s"),
        Panel("Dormant", [by("symbol", "marketswarm_epoch_dormant")], what="1: its feed fell silent"),
        Panel("Age of the models", [("marketswarm_model_age_seconds", "{{symbol}} {{model}}")], "s"),
        Panel("Publications", [(rate("marketswarm_model_versions_total", "symbol, model"), "{{symbol}} {{model}}")],
              "ops"),
        Panel("Audited, drifted, repaired", [
            ("rate(marketswarm_audited_panes_total[$__rate_interval])", "audited"),
            ("rate(marketswarm_drift_panes_total[$__rate_interval])", "drifted"),
            ("rate(marketswarm_repairs_total[$__rate_interval])", "repaired"),
        ], "ops"),
        Panel("Done to panes", [
            ('rate(marketswarm_analytics_total{source="calculate"}[$__rate_interval])', "{{field}}"),
        ], "ops"),
    )),
    "provider": ("Provider", (
        Panel("Connections", [by("source", "marketswarm_feed_live")], what="1: live"),
        Panel("Market", [("marketswarm_market_open", "open")]),
        Panel("Silence", [by("symbol", "marketswarm_feed_silence_seconds")], "s", "Since the newest option frame"),
        Panel("Topics", [by("symbol", "marketswarm_feed_topics")]),
        Panel("Frames, events, bytes", [
            ('rate(marketswarm_analytics_total{source="ws",field=~"frames|events"}[$__rate_interval])', "{{field}}"),
        ], "ops"),
        Panel("Bytes", [('rate(marketswarm_analytics_total{source="ws",field="bytes"}[$__rate_interval])', "received")],
              "Bps"),
        Panel("Connections made, and their faults", [
            ('rate(marketswarm_analytics_total{field=~"connections|reconnects|refusals|crowded|missing_acks|not_authorized|'
             'malformed_frames|dropped_frames"}[$__rate_interval])', "{{source}} {{field}}"),
        ], "ops"),
        Panel("Provider to socket", quantiles("marketswarm_provider_delay_seconds"), "s"),
        Panel("Age of the chain", [by("symbol", "marketswarm_chain_age_seconds")], "s"),
        Panel("Fetch of a chain", [by("symbol", "marketswarm_chain_seconds")], "s"),
        Panel("Failed in a row", [by("symbol", "marketswarm_chain_failed_in_a_row")]),
        Panel("Chains", [
            ('rate(marketswarm_analytics_total{source="chain",field=~"fetches|failures|pages"}[$__rate_interval])',
             "{{field}}"),
        ], "ops"),
    )),
    "redis": ("Redis", (
        Panel("Answers", [("marketswarm_redis_up", "up")]),
        Panel("Memory", [("marketswarm_redis_memory_bytes", "used"), ("marketswarm_redis_memory_peak_bytes", "peak"),
                         ("marketswarm_redis_memory_max_bytes", "maxmemory")], "bytes"),
        Panel("CPU of the main thread", [("rate(marketswarm_redis_cpu_seconds_total[$__rate_interval])", "busy")],
              "percentunit"),
        Panel("PING", [("marketswarm_redis_ping_seconds", "exporter")], "s"),
        Panel("Commands", [("rate(marketswarm_redis_commands_total[$__rate_interval])", "commands")], "ops"),
        Panel("Network", [("rate(marketswarm_redis_received_bytes_total[$__rate_interval])", "received"),
                          ("rate(marketswarm_redis_sent_bytes_total[$__rate_interval])", "sent")], "Bps"),
        Panel("Entries of the streams", [by("stream", "marketswarm_stream_entries")]),
        Panel("Reach of the streams", [by("stream", "marketswarm_stream_kept_seconds")], "s",
              "Age of the oldest entry that is kept"),
        Panel("Append-only file", [("marketswarm_redis_aof_bytes", "size")], "bytes"),
        Panel("Append-only file, state", [("marketswarm_redis_aof_enabled", "on"), ("marketswarm_redis_aof_ok", "ok"),
                                          ("marketswarm_redis_aof_rewriting", "rewriting")]),
        Panel("Writes that waited for the disk", [
            ("rate(marketswarm_redis_aof_delayed_fsyncs_total[$__rate_interval])", "delayed")], "ops"),
        Panel("Evictions", [("rate(marketswarm_redis_evicted_keys_total[$__rate_interval])", "keys")], "ops",
              "Must stay 0"),
        Panel("Clients, replicas", [("marketswarm_redis_clients", "clients"),
                                    ("marketswarm_redis_replicas", "replicas")]),
        Panel("Keys", [("marketswarm_redis_keys", "keys")]),
        Panel("Fragmentation", [("marketswarm_redis_fragmentation", "resident / used")]),
        Panel("Uptime", [("marketswarm_redis_uptime_seconds", "up")], "s"),
    )),
}
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def documents() -> Iterator[tuple[Path, str]]:
    """Each generated file and what is in it."""
    for name, (title, panels) in DASHBOARDS.items():
        built = json.dumps(_dashboard(name, title, panels), cls=JSONEncoder, indent=2, sort_keys=True)
        yield FOLDER / "grafana" / "dashboards" / f"{name}.json", built + "\n"
    yield FOLDER / "prometheus" / "rules.yml", rules()


def _dashboard(name: str, title: str, panels: Sequence[Panel]) -> object:
    board = (
        dashboard.Dashboard(f"MarketSwarm: {title}").uid(f"marketswarm-{name}").tags(["marketswarm"]).readonly()
        .refresh("10s").time("now-30m", "now").timezone("utc")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .link(dashboard.DashboardLink("MarketSwarm").type(DashboardLinkType.DASHBOARDS).tags(["marketswarm"]).as_dropdown(True))
    )
    for panel in panels:
        board.with_panel(_panel(panel))
    return board.build()


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made: stat.Panel | timeseries.Panel
    if panel.small:
        made = stat.Panel().height(4).span(4).color_mode(BigValueColorMode.NONE)
    else:
        legend = (
            common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        made = timeseries.Panel().height(8).span(12).min(0).fill_opacity(8).legend(legend)
    made.title(panel.title).description(panel.what).unit(panel.unit).datasource(SOURCE)
    for place, (query, legend_format) in enumerate(panel.queries):
        made.with_target(
            prometheus.Dataquery().expr(query).legend_format(legend_format or "__auto").ref_id(chr(ord("A") + place))
        )
    return made


def rules() -> str:
    recorded = [{"record": name, "expr": expression} for name, expression in RECORDED.items()]
    alerts = [
        {
            "alert": alert.name, "expr": alert.expression, "for": alert.lasting, "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "runbook_url": f"{RUNBOOK}#{alert.name.lower()}"},
        }
        for alert in ALERTS
    ]
    groups = [{"name": "marketswarm", "interval": "5s", "rules": recorded},
              {"name": "marketswarm-alerts", "interval": "5s", "rules": alerts}]
    text = yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)
    return f"# Made by deploy/observe.py; the runbook is in {RUNBOOK}.\n{text}"


def main() -> None:
    for path, text in documents():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
