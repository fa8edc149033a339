//! The one table of metrics. Documentation is made from it; dashboards and alerts are held
//! against it.

use prometheus::proto::MetricType;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its whole name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric =
                Metric { name: $name, kind: MetricType::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    BUILD_INFO = "weir_build_info" GAUGE ["version", "revision"]
        "Always 1; the labels say which build runs.";
    READY = "weir_ready" GAUGE []
        "1 while the process answers that it is ready for traffic.";
    PANICS = "weir_panics_total" COUNTER []
        "Panics caught; each cost one connection.";
    ACCESS_LOG_DROPPED = "weir_access_log_dropped_total" COUNTER []
        "Access log lines thrown away because their writer could not keep up.";

    SPANS_EXPORTED = "weir_tracing_spans_exported_total" COUNTER []
        "Spans that the receiver of traces has taken.";
    SPANS_DROPPED = "weir_tracing_spans_dropped_total" COUNTER ["why"]
        "Spans thrown away: queue_full, unreachable, rejected by the receiver, off by a reload, shutdown.";
    SPANS_WAITING = "weir_tracing_spans_waiting" GAUGE []
        "Spans that wait to be exported.";
    EXPORT_FAILURES = "weir_tracing_export_failures_total" COUNTER ["why"]
        "Exports that failed, most of which are tried again: resolve, connect, tls, timeout, broken, status, partial_success.";

    CONFIG_OK = "weir_config_last_reload_successful" GAUGE []
        "1 if the newest attempt to load the configuration was accepted.";
    CONFIG_TIME = "weir_config_last_reload_success_timestamp_seconds" GAUGE []
        "When a configuration was last accepted, Unix time.";
    CONFIG_RELOADS = "weir_config_reloads_total" COUNTER ["result"]
        "Attempts to load the configuration by result: applied, unchanged, rejected.";
    GENERATION = "weir_snapshot_generation" GAUGE []
        "The generation in force; rises with every reload and every change of health.";
    LAG = "weir_control_loop_lag_seconds" GAUGE []
        "How late the control thread woke up, the worst of the last 10 to 20 seconds.";
    ADMIN_REFUSED = "weir_admin_refused_total" COUNTER ["why"]
        "Requests that the admin API refused: no_credential, wrong_token, read_only, host, origin, tls.";

    LISTENER_ACCEPTED = "weir_listener_connections_total" COUNTER ["listener"]
        "Client connections accepted.";
    LISTENER_OPEN = "weir_listener_connections" GAUGE ["listener"]
        "Client connections open.";
    LISTENER_REJECTED = "weir_listener_connections_rejected_total" COUNTER ["listener"]
        "Client connections closed at once because the limit was reached.";
    LISTENER_LIMIT = "weir_listener_connections_limit" GAUGE ["listener"]
        "The most client connections at once; no series where there is no limit.";
    LISTENER_RECEIVED = "weir_bytes_received_total" COUNTER ["listener"]
        "Bytes received from clients.";
    LISTENER_SENT = "weir_bytes_sent_total" COUNTER ["listener"]
        "Bytes sent to clients.";
    TUNNELS = "weir_tunnels" GAUGE ["listener"]
        "Tunnels open: connections that were upgraded (WebSocket), and those of CONNECT.";
    TUNNELLED = "weir_tunnels_total" COUNTER ["listener"]
        "Tunnels opened.";
    DATAGRAMS_RECEIVED = "weir_datagrams_received_total" COUNTER ["listener"]
        "Datagrams received from clients; of UDP listeners only.";
    DATAGRAMS_SENT = "weir_datagrams_sent_total" COUNTER ["listener"]
        "Datagrams sent to clients; of UDP listeners only.";
    TLS_UNDER_WAY = "weir_tls_handshakes_under_way" GAUGE ["listener"]
        "TLS handshakes with clients under way, of listeners with TLS.";
    TLS_HANDSHAKES = "weir_tls_handshakes_total" COUNTER ["listener", "version", "kind"]
        "TLS handshakes with clients that succeeded, by version and whether they resumed a session.";
    TLS_FAILURES = "weir_tls_handshake_failures_total" COUNTER ["listener", "cause"]
        "TLS handshakes with clients that failed, by cause.";
    CERTIFICATE_UNTIL = "weir_certificate_not_after_seconds" GAUGE ["listener", "cluster", "file"]
        "When a certificate that we show expires, Unix time: a listener's, or what a cluster shows its endpoints.";
    RESPONSES = "weir_responses_total" COUNTER ["listener", "reason"]
        "Requests that ended in an answer of our own or an abort, by reason.";
    RATE_LIMITED = "weir_rate_limited_total" COUNTER ["listener", "route"]
        "Requests and connections refused by a rate limit; no route: by the listener's own.";
    RATE_DISPLACED = "weir_rate_limit_displaced_total" COUNTER ["listener", "route"]
        "Keys of a rate limit that had to share a bucket since there were more of them than max_keys.";
    REQUESTS = "weir_requests_total" COUNTER ["listener", "cluster", "code_class"]
        "Requests finished, by the class of the status the client got; none if it got none.";
    CALLS = "weir_grpc_calls_total" COUNTER ["listener", "cluster", "grpc_status"]
        "gRPC calls finished, by the number of their status; series appear with the first of a status.";
    IN_FLIGHT = "weir_requests_in_flight" GAUGE ["listener", "cluster"]
        "Requests under way.";
    DURATION = "weir_request_duration_seconds" HISTOGRAM ["listener", "cluster"]
        "From a request's head to the end of its answer.";
    FIRST_BYTE = "weir_upstream_first_byte_seconds" HISTOGRAM ["listener", "cluster"]
        "From a request's head to the head of the endpoint's answer.";

    DRILLS = "weir_drills" GAUGE ["kind"]
        "Rehearsals whose trouble is made now, by kind.";

    CLUSTER_REQUESTS = "weir_cluster_requests_total" COUNTER ["cluster"]
        "Requests let in.";
    CLUSTER_IN_FLIGHT = "weir_cluster_requests_in_flight" GAUGE ["cluster"]
        "Requests let in that are under way.";
    CLUSTER_LATENCY = "weir_cluster_answer_seconds" HISTOGRAM ["cluster"]
        "From the end of a request to the head of the endpoint's answer, by attempt; without 429, 5xx and failures.";
    RETRIES = "weir_retries_total" COUNTER ["cluster"]
        "Attempts after the first.";
    RETRIES_SAVED = "weir_retries_saved_total" COUNTER ["cluster"]
        "Requests that were answered by another attempt than their first.";
    RETRIES_DENIED = "weir_retries_denied_total" COUNTER ["cluster", "reason"]
        "Failed attempts that were not made again, by why.";
    PANIC = "weir_cluster_panic" GAUGE ["cluster"]
        "1 while too few endpoints are available, so that worse ones are used too.";
    PANICKED = "weir_panic_requests_total" COUNTER ["cluster"]
        "Requests served while too few endpoints were available.";
    LIMIT = "weir_cluster_limit" GAUGE ["cluster", "limit"]
        "The most at once of requests, connections, retries; no series where there is no limit.";
    LIMIT_USED = "weir_cluster_limit_used" GAUGE ["cluster", "limit"]
        "What of a limit is in use.";
    LIMIT_REMAINING = "weir_cluster_limit_remaining" GAUGE ["cluster", "limit"]
        "What of a limit is left.";
    LIMIT_REFUSED = "weir_cluster_limit_refused_total" COUNTER ["cluster", "limit"]
        "Refused because a limit was reached and nobody could wait, or not long enough.";
    WAITING = "weir_cluster_requests_waiting" GAUGE ["cluster"]
        "Requests that wait for a limit.";
    BREAKER = "weir_cluster_breaker" GAUGE ["cluster", "state"]
        "1 for the state the failure-rate breaker is in, 0 for the others; always closed where there is none.";
    BREAKER_CHANGES = "weir_breaker_transitions_total" COUNTER ["cluster", "to"]
        "Changes of the failure-rate breaker, by the state it changed to.";
    EJECTIONS = "weir_ejections_total" COUNTER ["cluster", "rule"]
        "Endpoints taken out for what their traffic showed, by rule.";
    SPARED = "weir_ejections_spared_total" COUNTER ["cluster", "reason"]
        "Endpoints not taken out although a rule was met, by why; once for each trouble.";

    LEVEL_LOAD = "weir_priority_load_ratio" GAUGE ["cluster", "priority"]
        "The part of a cluster's traffic that goes to a priority level, 0 to 1.";
    ZONE_SHARE = "weir_zone_share_ratio" GAUGE ["cluster", "priority", "zone"]
        "The part of a priority level's traffic that this instance sends to a zone, 0 to 1.";
    ZONE_LOCAL = "weir_zone_aware" GAUGE ["cluster", "priority", "state"]
        "1, with the state of zone-aware routing as label: local, spill, or why it is inactive.";
    DISCOVERY_STATE = "weir_discovery_state" GAUGE ["cluster", "source", "state"]
        "1 for the state a name or file is in, 0 for the others: pending, resolved, stale, unresolved.";
    DISCOVERY_ENDPOINTS = "weir_discovery_endpoints" GAUGE ["cluster", "source"]
        "Endpoints of a name or file that are in force.";
    DISCOVERY_ANSWERS = "weir_discovery_answers_total" COUNTER ["cluster", "source", "result"]
        "Answers of a name or file, by result: told, or how they failed.";
    DISCOVERY_TIME = "weir_discovery_last_success_timestamp_seconds" GAUGE ["cluster", "source"]
        "When a name or file last told endpoints, Unix time.";

    RELEASE_WEIGHT = "weir_release_weight" GAUGE ["release", "version"]
        "The share of users a version has now, 0 to 1; a rollout may hold it below the file's.";
    RELEASE_REQUESTS = "weir_release_requests_total" COUNTER ["release", "version", "code_class"]
        "Requests of a version finished, by the class of the status the client got; none if it got none.";
    RELEASE_WHY = "weir_release_decisions_total" COUNTER ["release", "version", "why"]
        "The same by what put them there: never_list, first_list, bucket, stable, unattributed.";
    RELEASE_ERRORS = "weir_release_errors_total" COUNTER ["release", "version"]
        "Requests of a version that failed: 5xx or no whole answer, and not by the client's doing.";
    RELEASE_MOVED = "weir_release_moved_total" COUNTER ["release", "version"]
        "Requests of a version that stable served since it had no usable endpoint; in no other count of it.";
    RELEASE_UNATTRIBUTED = "weir_release_unattributed_total" COUNTER ["release"]
        "Requests without an id.";
    RELEASE_DURATION = "weir_release_duration_seconds" HISTOGRAM ["release", "version"]
        "From a request's head to the end of its answer.";
    RELEASE_COPIES = "weir_release_copies_total" COUNTER ["release", "code_class"]
        "Mirrored copies that ended, by the class of their answer; none without a whole one.";
    RELEASE_COPIES_DIFFERED = "weir_release_copies_differed_total" COUNTER ["release"]
        "Copies whose status was of another class than the client's.";
    RELEASE_COPIES_DROPPED = "weir_release_copies_dropped_total" COUNTER ["release"]
        "Copies that were wanted and not made: too many under way, too large a body, no endpoint.";
    RELEASE_VERDICT = "weir_release_verdict" GAUGE ["release", "version", "verdict"]
        "1 for what is judged of a canary, 0 for the others: promote, hold, rollback, insufficient_data.";
    ROLLOUT_PHASE = "weir_rollout_phase" GAUGE ["release", "version", "phase"]
        "1 for what a canary does, 0 for the others: advancing, paused, failed, aborted, complete.";
    ROLLOUT_STEP = "weir_rollout_step" GAUGE ["release", "version"]
        "The step a canary's rollout stands at, from 1; 0 without a rollout.";

    CLUSTER_STATES = "weir_cluster_endpoint_states" GAUGE ["cluster", "state"]
        "Endpoints in each state.";
    CLUSTER_ENDPOINTS = "weir_cluster_endpoints" GAUGE ["cluster"]
        "Endpoints configured.";
    CLUSTER_HEALTHY = "weir_cluster_healthy_endpoints" GAUGE ["cluster"]
        "Endpoints known to be healthy.";
    ZONE_ENDPOINTS = "weir_zone_endpoints" GAUGE ["cluster", "zone", "state"]
        "Endpoints of a zone in each state; series but of healthy only while there are any.";
    ENDPOINT_UP = "weir_endpoint_up" GAUGE ["cluster", "endpoint", "zone"]
        "1 if the endpoint is known to be healthy.";
    ENDPOINT_STATE = "weir_endpoint_state" GAUGE ["cluster", "endpoint", "zone", "state"]
        "1, with the state the endpoint is in as label.";
    ENDPOINT_WEIGHT = "weir_endpoint_weight" GAUGE ["cluster", "endpoint", "zone"]
        "The endpoint's configured share.";
    ENDPOINT_SHARE = "weir_endpoint_effective_weight" GAUGE ["cluster", "endpoint", "zone"]
        "The share it gets now, where that is less than configured: while it ramps up or is reduced.";
    ENDPOINT_SINCE = "weir_endpoint_last_transition_timestamp_seconds" GAUGE ["cluster", "endpoint", "zone"]
        "When the endpoint's state last changed, Unix time.";
    SERIES_DROPPED = "weir_metric_series_dropped" GAUGE ["cluster"]
        "Endpoints without series of their own because there are too many.";

    UPSTREAM_REQUESTS = "weir_upstream_requests_total" COUNTER ["cluster", "endpoint", "zone"]
        "Attempts begun at the endpoint.";
    UPSTREAM_IN_FLIGHT = "weir_upstream_requests_in_flight" GAUGE ["cluster", "endpoint", "zone"]
        "Attempts under way at the endpoint.";
    UPSTREAM_ANSWERS = "weir_upstream_answers_total" COUNTER ["cluster", "endpoint", "zone", "code_class"]
        "Answers of the endpoint, by class of status; series but of 2xx appear with the first.";
    UPSTREAM_ERRORS = "weir_upstream_errors_total" COUNTER ["cluster", "endpoint", "zone", "reason"]
        "Attempts that failed without a whole answer, by reason; series appear with the first failure.";
    UPSTREAM_ATTEMPTS = "weir_upstream_attempts_total" COUNTER ["cluster", "endpoint", "zone", "class"]
        "Attempts ended, by what they say of the endpoint; series appear with the first of a class.";
    UPSTREAM_OPEN = "weir_upstream_connections" GAUGE ["cluster", "endpoint", "zone"]
        "Connections to the endpoint, idle ones included.";
    UPSTREAM_CONNECTS = "weir_upstream_connects_total" COUNTER ["cluster", "endpoint", "zone"]
        "Connections opened to the endpoint.";
    UPSTREAM_REUSES = "weir_upstream_connection_reuses_total" COUNTER ["cluster", "endpoint", "zone"]
        "Attempts that took a connection that was already open.";
    UPSTREAM_SENT = "weir_upstream_bytes_sent_total" COUNTER ["cluster", "endpoint", "zone"]
        "Bytes sent to the endpoint.";
    UPSTREAM_RECEIVED = "weir_upstream_bytes_received_total" COUNTER ["cluster", "endpoint", "zone"]
        "Bytes received from the endpoint.";

    UPSTREAM_RTT = "weir_upstream_rtt_seconds" GAUGE ["cluster", "endpoint", "zone"]
        "The smoothed round trip of TCP, the mean over connections of this host that are open to the endpoint.";
    UPSTREAM_SEGMENTS = "weir_upstream_segments_total" COUNTER ["cluster", "endpoint", "zone"]
        "Segments sent to the endpoint, as far as scrapes saw their connections open.";
    UPSTREAM_RETRANSMITTED = "weir_upstream_retransmitted_segments_total" COUNTER ["cluster", "endpoint", "zone"]
        "Of these segments, those that were sent again.";

    CHECKS = "weir_health_checks_total" COUNTER ["cluster", "type", "result"]
        "Health probes finished, by result: passed, failed, inconclusive.";
    CHECK_DURATION = "weir_health_check_duration_seconds" HISTOGRAM ["cluster"]
        "How long health probes took, from connecting to the verdict.";
    TRANSITIONS = "weir_health_transitions_total" COUNTER ["cluster", "to"]
        "Changes of an endpoint's state, by the state it changed to.";

    HOST_SOCKETS = "weir_host_tcp_sockets" GAUGE ["state"]
        "TCP sockets of this host's network, by state.";
    LISTEN_OVERFLOWS = "weir_host_listen_overflows_total" COUNTER []
        "Connections to this host's network thrown away because an accept queue was full, since it was made.";
    CLOCK_STEP = "weir_clock_step_seconds" GAUGE []
        "By how much the wall clock was set since the process started; positive is forward.";

    CPU = "process_cpu_seconds_total" COUNTER []
        "User and system CPU time spent, in seconds.";
    RESIDENT = "process_resident_memory_bytes" GAUGE []
        "Resident memory in bytes.";
    VIRTUAL = "process_virtual_memory_bytes" GAUGE []
        "Virtual memory in bytes.";
    OPEN_FDS = "process_open_fds" GAUGE []
        "Open file descriptors.";
    MAX_FDS = "process_max_fds" GAUGE []
        "Most file descriptors the process may open.";
    THREADS = "process_threads" GAUGE []
        "Threads of the process.";
    START_TIME = "process_start_time_seconds" GAUGE []
        "When the process started, Unix time.";
}

/// What each label says. One that says different things of different metrics has them all.
pub const LABELS: &[(&str, &str)] = &[
    ("cause", "Why a TLS handshake failed: `not_tls`, `version`, `nothing_in_common`, `no_certificate`, `refused` …"),
    (
        "class",
        "What an attempt says of its endpoint: `success`, `client_error`, `error`, `gateway`, `shed`, `connect`, `timeout`, `reset`, `ours`.",
    ),
    ("cluster", "The cluster's name; empty for requests that found no route."),
    ("code_class", "`1xx` to `5xx`; `none` where there was no status."),
    ("endpoint", "The endpoint's address; empty where a cluster has too many endpoints for series of their own."),
    ("file", "The file of a certificate, as the configuration names it."),
    ("grpc_status", "The number of a gRPC status, 0 for OK."),
    ("kind", "Of TLS: `full` or `resumed`. Of drills: `unreachable`, `latency`, `abort` or `reset`."),
    ("limit", "Which limit of the cluster: `requests`, `connections` or `retries`."),
    ("listener", "The listener's name."),
    ("phase", "What a canary does: `advancing`, `paused`, `failed`, `aborted`, `complete`."),
    ("priority", "The priority of endpoints, from 0."),
    (
        "reason",
        "Of answers and errors: one of the [reasons](reasons.md). Of retries: why there was none, as in the access log's `retry_denied`. Of spared endpoints: `last_usable`, `max_ejection_percent`, `correlated`.",
    ),
    ("release", "The release's name."),
    ("result", "How it ended: of reloads, of probes, of looks at names and files."),
    ("revision", "The revision that was built, where the build was told."),
    ("route", "The route's name, or its place in the listener; empty for the listener itself."),
    (
        "rule",
        "The rule that was met: `consecutive_5xx`, `consecutive_gateway`, `consecutive_local_origin`, `failure_percentage`.",
    ),
    ("source", "The name or file that tells endpoints, as the configuration writes it."),
    (
        "state",
        "Of endpoints: `unknown`, `healthy`, `unhealthy`, `ejected`, `probation`, `draining`. Of breakers: `closed`, `open`, `half_open`. Of others: as their meaning says.",
    ),
    ("to", "The state that was changed to."),
    ("type", "What a probe speaks: `http`, `tcp`, `grpc` or `udp`."),
    ("verdict", "`promote`, `hold`, `rollback` or `insufficient_data`."),
    ("version", "Of the build: its number. Of TLS: `1.2` or `1.3`. Of releases: the cluster that is the version."),
    ("why", "Why: the words stand in the meaning, or are those of `weir explain`."),
    ("zone", "The availability zone; empty where it is not known."),
];
