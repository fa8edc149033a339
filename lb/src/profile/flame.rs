//! A profile as a flame graph: who called whom upwards, time by width. (Brendan Gregg, "The Flame
//! Graph", Communications of the ACM 59(6), 2016)
//!
//! One SVG without anything it would have to load; pointing at a frame tells its name and share.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Profile;

/// Pixels.
const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const TOP: f64 = 34.0;
/// Narrower ones cannot be seen, let alone pointed at.
const NARROWEST: f64 = 0.4;
/// Of a character, about.
const LETTER: f64 = 7.0;

/// A function where it stands, and those that it called.
#[derive(Debug, Default)]
struct Node<'p> {
    samples: u64,
    under: BTreeMap<&'p str, Self>,
}

/// The picture.
#[must_use]
pub fn svg(profile: &Profile) -> String {
    let mut root = Node::default();
    for (stack, count) in &profile.stacks {
        root.samples += count;
        let mut at = &mut root;
        let names = std::iter::once(&*stack.thread).chain(stack.frames.iter().map(|frame| &*frame.function));
        for name in names {
            at = at.under.entry(name).or_default();
            at.samples += count;
        }
    }
    let mut frames = String::new();
    let all = format!("all: {}", threads(root.under.len()));
    let scale = WIDTH / root.samples.max(1) as f64;
    let height = TOP + ROW * (1 + depth(&root, scale)) as f64 + 8.0;
    let mut drawing = Drawing { out: &mut frames, all: root.samples.max(1), scale, bottom: height - 8.0 };
    drawing.draw(&all, &root, 0.0, 0);
    let (seconds, samples) = (profile.lasted.as_secs_f64(), root.samples);
    let cpu = samples as f64 / f64::from(profile.frequency.max(1));
    let hz = profile.frequency;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"12\">\n\
         <style>rect{{stroke:#fff;stroke-width:.5}}g:hover rect{{stroke:#000}}text{{fill:#000;pointer-events:none}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"4\" y=\"20\">weir: {cpu:.2} s of CPU time in {seconds:.1} s ({samples} samples, {hz} a second of CPU time)</text>\n\
         {frames}</svg>\n"
    )
}

fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

/// Rows that can be seen above this one.
fn depth(node: &Node<'_>, scale: f64) -> usize {
    let seen = node.under.values().filter(|under| under.samples as f64 * scale >= NARROWEST);
    seen.map(|under| 1 + depth(under, scale)).max().unwrap_or(0)
}

struct Drawing<'a> {
    out: &'a mut String,
    all: u64,
    /// Pixels a sample.
    scale: f64,
    bottom: f64,
}

impl Drawing<'_> {
    fn draw(&mut self, name: &str, node: &Node<'_>, x: f64, row: usize) {
        let width = node.samples as f64 * self.scale;
        if width < NARROWEST {
            return;
        }
        let y = self.bottom - ROW * (row + 1) as f64;
        let percent = node.samples as f64 * 100.0 / self.all as f64;
        let (told, room) = (escaped(name), (width / LETTER) as usize);
        let (inner, [red, green, blue]) = (ROW - 1.0, colour(name));
        // Writing to a String cannot fail.
        let _ = write!(
            self.out,
            "<g><title>{told}: {} samples, {percent:.2} %</title>\
             <rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{inner}\" fill=\"rgb({red},{green},{blue})\"/>",
            node.samples
        );
        if room > 3 {
            let label: String = match name.chars().count() > room {
                true => name.chars().take(room - 2).chain("..".chars()).collect(),
                false => name.to_owned(),
            };
            let (left, base) = (x + 3.0, y + 12.0);
            let _ = write!(self.out, "<text x=\"{left:.1}\" y=\"{base}\">{}</text>", escaped(&label));
        }
        self.out.push_str("</g>\n");
        let mut left = x;
        for (name, under) in &node.under {
            self.draw(name, under, left, row + 1);
            left += under.samples as f64 * self.scale;
        }
    }
}

/// Warm, and the same for the same name.
fn colour(name: &str) -> [u8; 3] {
    let hash = name.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let part = |shift: u32, range: u32| (hash >> shift) % range;
    [205 + part(0, 50) as u8, 90 + part(8, 130) as u8, 40 + part(16, 50) as u8]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::testing::sample;
    use super::*;

    #[test]
    fn width_is_time_and_names_are_escaped() {
        let picture = svg(&sample());
        assert!(picture.contains("1.00 s of CPU time in 2.0 s (100 samples"), "{picture}");
        for told in [
            "<title>all: 2 threads: 100 samples, 100.00 %",
            "<title>probe: 60 samples, 60.00 %",
            "<title>parse&lt;T&gt;: 30 samples",
        ] {
            assert!(picture.contains(told), "{told} in {picture}");
        }
        assert!(picture.contains("width=\"720.0\"") && !picture.contains("parse<T>"), "{picture}");
        assert_eq!(picture.matches("<g>").count(), picture.matches("</g>").count());
    }

    #[test]
    fn an_empty_profile_is_a_picture_too() {
        let empty = Profile { stacks: BTreeMap::new(), ..sample() };
        assert!(svg(&empty).contains("0 samples"));
    }
}
