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
  <dt><a href="/api/v1/releases">GET /api/v1/releases</a>, /api/v1/releases/NAME<dd>Versions side by side, what is judged of canaries, where rollouts stand. On a terminal: <code>weir release status</code>.
  <dt>POST /api/v1/releases/NAME:pause, :resume, :abort (?canary=CLUSTER)<dd>Let a canary wait, go on, or give it up. On a terminal: <code>weir release pause</code>, …
  <dt>GET /api/v1/explain?method=GET&amp;url=URL&amp;header=NAME:VALUE&amp;…, /api/v1/decisions/ID<dd>One request's way, and why: of one that is described, and of one that was served. On a terminal: <code>weir explain</code>.
  <dt>GET /api/v1/releases/NAME/buckets<dd>A release's requests so far, by bucket. On a terminal: <code>weir diff --admin</code>.
  <dt><a href="/api/v1/drains">GET /api/v1/drains</a><dd>What is drained by hand, by whom and until when. On a terminal: <code>weir drain</code>.
  <dt><a href="/api/v1/drills">GET /api/v1/drills</a>, /api/v1/drills/ID<dd>Rehearsals with their reports. On a terminal: <code>weir drill list</code>.
  <dt>POST /api/v1/drain?endpoint=CLUSTER/ADDRESS or ?zone=NAME, /api/v1/undrain?…<dd>Give it no new work, and end that. On a terminal: <code>weir drain</code>, <code>weir undrain</code>.
  <dt>POST /api/v1/drills?kind=KIND&amp;…, /api/v1/drills/ID:end<dd>Make something fail on purpose, for a time. On a terminal: <code>weir drill</code>.
  <dt>POST /api/v1/config:reload<dd>Read the configuration file again. On a terminal: <code>weir reload</code>.
</dl>
"#;
