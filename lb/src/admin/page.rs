//! The page at `/`: what there is.

/// Plain HTML, nothing to load.
pub(super) const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>weir</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em; color-scheme: light dark }
  dt { font-family: ui-monospace, monospace; margin-top: .8em }
</style>
<h1>weir</h1>
<p>The admin address of a load balancer.</p>
<dl>
  <dt><a href="/livez">GET /livez</a><dd>Does this process answer?
  <dt><a href="/readyz?verbose">GET /readyz?verbose</a><dd>May traffic be sent to it? 503 while starting and draining.
  <dt><a href="/metrics">GET /metrics</a><dd>For Prometheus.
  <dt><a href="/api/v1/status">GET /api/v1/status</a><dd>Listeners, clusters, endpoints and their health. On a terminal: <code>weir status</code>.
  <dt><a href="/api/v1/events">GET /api/v1/events?since=ID&amp;limit=N</a><dd>What happened, and why. On a terminal: <code>weir events</code>.
  <dt><a href="/api/v1/config">GET /api/v1/config</a><dd>The configuration in force.
  <dt>POST /api/v1/config:reload<dd>Read the configuration file again. On a terminal: <code>weir reload</code>.
</dl>
"#;
