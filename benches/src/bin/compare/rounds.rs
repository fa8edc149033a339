//! Rounds in which every balancer has its turn, and the table of what they used.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Result;

use crate::Plan;
use crate::load::{self, Load};
use crate::peer::{self, Backend, Front, Kind, Peer};
use crate::process::Cpu;
use crate::rows::{self, Aim, Row};
use crate::tls;

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

/// A row in which each balancer is held against nginx.
pub(crate) fn simple(plan: &Plan, row: &Row) -> Result<()> {
    let backend = Backend::start()?;
    let peers: Vec<Peer> =
        plan.peers.iter().map(|kind| peer::start(plan, *kind, backend.address, row.front)).collect::<Result<_>>()?;
    let turns = interleaved(plan, &peers, row, |_| None)?;
    let reference = plan.peers.iter().position(|kind| *kind == Kind::Nginx).unwrap_or(0);
    print(row.title, &peers, &turns, |_| reference, &peers[reference].name);
    if let Some(aim) = row.aim {
        print_aim(&plan.peers, &turns, aim);
    }
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
            peers.push(peer::start(plan, *kind, backend.address, Front::Routes(count))?);
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
    let turns = interleaved(plan, &peers, &rows::ROUTES, |at| Some(scripts[at % 2].as_path()))?;
    // Each against itself with few routes.
    print(rows::ROUTES.title, &peers, &turns, |at| at - at % 2, "itself with 10 routes");
    Ok(())
}

/// One list of turns for each peer.
fn interleaved<'s>(
    plan: &Plan,
    peers: &[Peer],
    row: &Row,
    script: impl Fn(usize) -> Option<&'s Path>,
) -> Result<Vec<Vec<Turn>>> {
    let tls = client(peers, row.front)?;
    let mut turns: Vec<Vec<Turn>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 0..=plan.rounds {
        for step in 0..peers.len() {
            // Another one begins each round, so that nobody always follows the same neighbour.
            let at = (round + step) % peers.len();
            let peer = &peers[at];
            let before = peer.process.cpu();
            let load = Load {
                to: peer.address,
                path: row.path,
                connections: row.h2.map_or(plan.connections, |h2| h2.connections),
                turn: plan.turn,
                close: row.close,
                script: script(at),
                tls: tls.as_ref(),
            };
            let requests = match row.h2 {
                Some(h2) => load::h2load(&load, h2.streams)?,
                None => load::wrk(&load)?,
            };
            // The first round warms up.
            if round > 0 {
                turns[at].push(Turn { cpu: peer.process.cpu().since(before), requests });
            }
        }
        if io::stderr().is_terminal() {
            eprint!("\r{}: round {round} of {} \r", row.title, plan.rounds);
        }
    }
    Ok(turns)
}

/// TLS clients, once every balancer has been found to do the same work for them.
fn client(peers: &[Peer], front: Front) -> Result<Option<tls::Client>> {
    let Front::Tls { resume } = front else { return Ok(None) };
    let client = tls::Client::new()?;
    for peer in peers {
        client.inspect(peer.address, resume)?;
    }
    Ok(Some(client))
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
        let mut ratios = ratios(&turns[at], against);
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

/// How Weir does beside whom it is held against.
fn print_aim(kinds: &[Kind], turns: &[Vec<Turn>], aim: Aim) {
    let micros = |at: &usize| median(turns[*at].iter().map(Turn::micros).collect());
    let held_against = |at: &usize| kinds[*at] != Kind::Weir && aim.against.is_none_or(|kind| kinds[*at] == kind);
    let weir = kinds.iter().position(|kind| *kind == Kind::Weir);
    let other = (0..kinds.len()).filter(held_against).min_by(|a, b| micros(a).total_cmp(&micros(b)));
    let (Some(weir), Some(other)) = (weir, other) else { return };
    let ratio = median(ratios(&turns[weir], &turns[other]));
    let reached = if ratio <= aim.then {
        "reached"
    } else if ratio <= aim.first {
        "the first is reached"
    } else {
        "missed"
    };
    let whom = if aim.against.is_none() { "the best of the others, " } else { "" };
    println!(
        "aim: {:.2} of {whom}{} (at first {:.2}); it is {ratio:.3}: {reached}",
        aim.then,
        kinds[other].name(),
        aim.first
    );
}

/// Of CPU time per request, within rounds.
fn ratios(turns: &[Turn], against: &[Turn]) -> Vec<f64> {
    turns.iter().zip(against).map(|(a, b)| a.micros() / b.micros()).collect()
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
