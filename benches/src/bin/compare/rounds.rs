//! Rounds in which every balancer has its turn, and the table of what they used.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Result;

use crate::Plan;
use crate::peer::{self, Backend, Peer};
use crate::process::Cpu;
use crate::wrk::{self, Load};

/// One turn: CPU time and completed requests.
struct Turn {
    cpu: Cpu,
    requests: f64,
}

impl Turn {
    fn micros(&self) -> f64 {
        self.cpu.total() * 1e6 / self.requests
    }
}

/// What each request of a work is.
struct Request<'r> {
    title: &'r str,
    path: &'r str,
    header: Option<&'r str>,
}

pub(crate) fn keep_alive(plan: &Plan) -> Result<()> {
    simple(plan, &Request { title: "H1 keep-alive, small answer", path: "/", header: None })
}

pub(crate) fn connections(plan: &Plan) -> Result<()> {
    let header = Some("Connection: close");
    simple(plan, &Request { title: "H1, a new client connection each, small answer", path: "/", header })
}

pub(crate) fn bodies(plan: &Plan) -> Result<()> {
    simple(plan, &Request { title: "H1 keep-alive, 1 MiB answer", path: "/large", header: None })
}

fn simple(plan: &Plan, request: &Request<'_>) -> Result<()> {
    let backend = Backend::start()?;
    let peers: Vec<Peer> =
        plan.peers.iter().map(|kind| peer::start(plan, *kind, backend.address, None)).collect::<Result<_>>()?;
    let turns = interleaved(plan, &peers, request, |_| None)?;
    let reference = plan.peers.iter().position(|kind| *kind == peer::Kind::Nginx).unwrap_or(0);
    print(request.title, &peers, &turns, |_| reference, &peers[reference].name);
    Ok(())
}

/// Each balancer with 10 and with 10 000 routes; requests over all of them, at random.
pub(crate) fn routes(plan: &Plan) -> Result<()> {
    const COUNTS: [u32; 2] = [10, 10_000];
    let backend = Backend::start()?;
    let directory = tempfile::tempdir()?;
    let mut peers = Vec::new();
    for kind in &plan.peers {
        for count in COUNTS {
            peers.push(peer::start(plan, *kind, backend.address, Some(count))?);
        }
    }
    let scripts = COUNTS.map(|count| directory.path().join(format!("{count}.lua")));
    for (script, count) in scripts.iter().zip(COUNTS) {
        let lua = format!(
            "function request()\n  local n = math.random(0, {})\n  \
             return wrk.format('GET', '/p' .. n .. '/cart', {{['Host'] = 'h' .. n .. '.example'}})\nend\n",
            count - 1
        );
        fs::write(script, lua)?;
    }
    let request = Request { title: "H1 keep-alive, 10 000 routes against 10", path: "/", header: None };
    let turns = interleaved(plan, &peers, &request, |at| Some(scripts[at % 2].as_path()))?;
    // Each against itself with few routes.
    print(request.title, &peers, &turns, |at| at - at % 2, "itself with 10 routes");
    Ok(())
}

/// One list of turns for each peer.
fn interleaved<'s>(
    plan: &Plan,
    peers: &[Peer],
    request: &Request<'_>,
    script: impl Fn(usize) -> Option<&'s Path>,
) -> Result<Vec<Vec<Turn>>> {
    let mut turns: Vec<Vec<Turn>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 0..=plan.rounds {
        for step in 0..peers.len() {
            // Another one begins each round, so that nobody always follows the same neighbour.
            let at = (round + step) % peers.len();
            let peer = &peers[at];
            let before = peer.process.cpu();
            let requests = wrk::run(&Load {
                to: peer.address,
                path: request.path,
                connections: plan.connections,
                turn: plan.turn,
                header: request.header,
                script: script(at),
            })?;
            // The first round warms up.
            if round > 0 {
                turns[at].push(Turn { cpu: peer.process.cpu().since(before), requests });
            }
        }
        if io::stderr().is_terminal() {
            eprint!("\r{}: round {round} of {} \r", request.title, plan.rounds);
        }
    }
    Ok(turns)
}

fn print(title: &str, peers: &[Peer], turns: &[Vec<Turn>], reference: impl Fn(usize) -> usize, whom: &str) {
    println!("\n{title}");
    println!(
        "{:<24} {:>11} {:>8} {:>8} {:>10} {:>22}",
        "", "µs/request", "user", "system", "requests/s", "ratio (least to most)"
    );
    for (at, peer) in peers.iter().enumerate() {
        let of = |figure: &dyn Fn(&Turn) -> f64| median(turns[at].iter().map(figure).collect());
        let against = &turns[reference(at)];
        let mut ratios: Vec<f64> = turns[at].iter().zip(against).map(|(a, b)| a.micros() / b.micros()).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios.first().copied().unwrap_or(f64::NAN), ratios.last().copied().unwrap_or(f64::NAN));
        println!(
            "{:<24} {:>11.2} {:>8.2} {:>8.2} {:>10.0} {:>8.3} ({least:.3} to {most:.3})",
            peer.name,
            of(&Turn::micros),
            of(&|turn| turn.cpu.user * 1e6 / turn.requests),
            of(&|turn| turn.cpu.system * 1e6 / turn.requests),
            of(&|turn| turn.requests / turn.cpu.total()),
            median(ratios),
        );
    }
    println!("requests/s: of one fully used core, by CPU time; ratio: of µs/request, within rounds, to {whom}");
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}
