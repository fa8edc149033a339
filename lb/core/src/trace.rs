//! The ids by which a request is followed through several services (W3C Trace Context, level 2),
//! and which requests are sampled.
//!
//! Reads and writes `traceparent`, says whether a `tracestate` may go on. Holds no span.

use crate::dice::Dice;

/// What names a trace: 128 bits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// A new one; all its bits are random.
    pub const fn roll(dice: &mut Dice) -> Self {
        let id = (dice.roll() as u128) << 64 | dice.roll() as u128;
        Self(if id == 0 { 1 } else { id })
    }

    /// In the order of the wire.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        put_hex(&mut text, self.0);
        text
    }

    /// Whether a trace that begins with this id is one of the share `ratio`, 0 to 1. By the rule of
    /// OpenTelemetry's `TraceIdRatioBased` as its SDKs have it (the last 63 bits are below the
    /// share), so that all who go by the id decide alike, and who samples more samples these too.
    #[must_use]
    pub fn is_sampled(self, ratio: f64) -> bool {
        const ALL: f64 = (1u64 << 63) as f64;
        let part = (self.0 as u64) >> 1;
        ratio >= 1.0 || part < (ratio * ALL) as u64
    }
}

/// What names a span: 64 bits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// A new one.
    pub const fn roll(dice: &mut Dice) -> Self {
        let id = dice.roll();
        Self(if id == 0 { 1 } else { id })
    }

    /// In the order of the wire.
    #[must_use]
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> [u8; 16] {
        let mut text = [0; 16];
        put_hex(&mut text, self.0.into());
        text
    }
}

/// What a service tells the next of the trace they are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span of whoever tells it.
    pub span: SpanId,
    /// [`Self::SAMPLED`] and [`Self::RANDOM`]; no others.
    pub flags: u8,
}

impl Context {
    /// Whoever tells it may have kept its span.
    pub const SAMPLED: u8 = 1;
    /// The last 56 bits of the trace's id are random.
    pub const RANDOM: u8 = 2;

    /// Bytes of version 00.
    pub const LEN: usize = 55;

    /// Reads a `traceparent`. A version that is not known yet may have more behind what 00 has;
    /// version ff is none.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(Self::LEN)?;
        let version = hex(&head[..2])?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        if !fits || [head[2], head[35], head[52]] != [b'-'; 3] {
            return None;
        }
        let trace = hex(&head[3..35]).filter(|id| *id != 0)?;
        // Sixteen digits are 64 bits, and two are eight.
        let span = hex(&head[36..52]).filter(|id| *id != 0)? as u64;
        let flags = hex(&head[53..])? as u8;
        Some(Self { trace: TraceId(trace), span: SpanId(span), flags: flags & (Self::SAMPLED | Self::RANDOM) })
    }

    /// A `traceparent` of version 00.
    #[must_use]
    pub fn text(&self) -> [u8; Self::LEN] {
        let mut text = [b'-'; Self::LEN];
        text[..2].copy_from_slice(b"00");
        put_hex(&mut text[3..35], self.trace.0);
        put_hex(&mut text[36..52], self.span.0.into());
        put_hex(&mut text[53..], self.flags.into());
        text
    }

    /// Whether [`Self::SAMPLED`] is set.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }
}

/// The flags of a request's own context: those of the `parent` it follows, or of the trace that
/// begins with it, by `ratio`.
#[must_use]
pub fn flags(parent: Option<&Context>, trace: TraceId, ratio: f64) -> u8 {
    match parent {
        Some(parent) => parent.flags,
        None => Context::RANDOM | u8::from(trace.is_sampled(ratio)),
    }
}

/// Members of a `tracestate`, over all its fields.
const MEMBERS_MAX: usize = 32;
/// Bytes of a key, and of a value.
const PART_MAX: usize = 256;

/// Whether these fields are a `tracestate`; what is none goes nowhere.
pub fn is_state<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut members = 0;
    fields.flat_map(|field| field.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).all(|member| {
        // An empty member counts for nothing.
        members += usize::from(!member.is_empty());
        members <= MEMBERS_MAX && (member.is_empty() || is_member(member))
    })
}

fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let of_key = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let of_value = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=';
    key.len() <= PART_MAX
        && key.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.iter().all(of_key)
        && (1..=PART_MAX).contains(&value.len())
        && value.iter().all(of_value)
}

/// The number that lower-case hexadecimal digits are, at most 32 of them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(number << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

/// Writes the last digits of a number, as many as there is room for.
fn put_hex(room: &mut [u8], mut number: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in room.iter_mut().rev() {
        *digit = DIGITS[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";
    const SPAN: &str = "1234567890123456";

    /// The cases of the W3C's own suite for `traceparent`.
    #[test]
    fn traceparents() {
        let zeros = "0".repeat(32);
        for (text, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(0)),
            (format!("00-{TRACE}-{SPAN}-03"), Some(3)),
            (format!("00-{TRACE}-{SPAN}-ff"), Some(3)),
            (format!("00-{TRACE}-{SPAN}-fc"), Some(0)),
            // Versions to come.
            (format!("cc-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01."), None),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("cc-{TRACE}-{SPAN}-0"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            // More than version 00 has.
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("00-{TRACE}-{SPAN}-01."), None),
            (format!("00-{TRACE}-{SPAN}-01-what"), None),
            (format!("00-{TRACE}-{SPAN}-01 "), None),
            // Illegal letters and lengths.
            (format!(".0-{TRACE}-{SPAN}-01"), None),
            (format!("0.-{TRACE}-{SPAN}-01"), None),
            (format!("000-{TRACE}-{SPAN}-01"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("00-{zeros}-{SPAN}-01"), None),
            (format!("00-.{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{}A-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{TRACE}0-{SPAN}-01"), None),
            (format!("00-{TRACE}-{}-01", &zeros[..16]), None),
            (format!("00-{TRACE}-.{}-01", &SPAN[1..]), None),
            (format!("00-{TRACE}-{}-01", &SPAN[1..]), None),
            (format!("00-{TRACE}-{SPAN}0-01"), None),
            (format!("00-{TRACE}-{SPAN}-.0"), None),
            (format!("00-{TRACE}-{SPAN}-0."), None),
            (format!("00-{TRACE}-{SPAN}-0F"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}_01"), None),
            (String::new(), None),
        ] {
            let found = Context::parse(text.as_bytes());
            assert_eq!(found.map(|context| context.flags), flags, "{text}");
            if let Some(context) = found {
                let ours = format!("00-{TRACE}-{SPAN}-{:02x}", context.flags);
                assert_eq!(std::str::from_utf8(&context.text()), Ok(&*ours));
                assert_eq!((&context.trace.hex()[..], &context.span.hex()[..]), (TRACE.as_bytes(), SPAN.as_bytes()));
            }
        }
    }

    /// The cases of the W3C's own suite for `tracestate`.
    #[test]
    fn tracestates() {
        let many = |count: usize| (0..count).map(|at| format!("k{at:02}=1")).collect::<Vec<_>>().join(",");
        let (long_key, longer_key) = (format!("{}=1", "z".repeat(256)), format!("{}=1", "z".repeat(257)));
        let (long, longer) = (format!("k={}", "v".repeat(256)), format!("k={}", "v".repeat(257)));
        let (most, more) = (many(32), many(33));
        for (fields, good) in [
            (&["foo=1,bar=2"][..], true),
            (&["foo=1", "bar=2"], true),
            (&["foo=1 \t , \t bar=2", "baz=3"], true),
            (&["", "foo=1", ",,"], true),
            (&["fw529a3039@dt=FfAAAA,0a=1,foo@=1,a*/_-=!\"#$%&'()*+-./:;<>?[]^_`{|}~"], true),
            (&["foo=1 2"], true),
            (&[&long_key], true),
            (&[&long], true),
            (&[&most], true),
            (&[], true),
            (&["foo"], false),
            (&["foo="], false),
            (&["=1"], false),
            (&["foo =1"], false),
            (&["FOO=1"], false),
            (&["foo.bar=1"], false),
            (&["@foo=1"], false),
            (&["foo=bar=baz"], false),
            (&["foo=1;bar=2"], false),
            (&["foo=\u{e4}"], false),
            (&[&longer_key], false),
            (&[&longer], false),
            (&[&more], false),
            (&[&most, "k=1"], false),
        ] {
            assert_eq!(is_state(fields.iter().map(|field| field.as_bytes())), good, "{fields:?}");
        }
    }

    #[test]
    fn a_ratio_is_kept_and_agreed_on() {
        // As opentelemetry-go and opentelemetry-rust decide: the last eight bytes, without the last bit.
        let id = |low: u64| TraceId(1 << 64 | u128::from(low));
        assert!(!id(0).is_sampled(0.0) && id(0).is_sampled(0.01));
        assert!(id(u64::MAX).is_sampled(1.0) && !id(u64::MAX).is_sampled(0.99));
        assert!(id(u64::MAX / 2 - 1).is_sampled(0.5) && !id(u64::MAX / 2 + 1).is_sampled(0.5));
        let mut dice = Dice::new(7);
        let sampled = (0..100_000).filter(|_| TraceId::roll(&mut dice).is_sampled(0.01)).count();
        assert!((850..1150).contains(&sampled), "{sampled}");
    }

    #[test]
    fn a_parent_that_is_followed_decides() {
        let parent = |flags| Context { trace: TraceId(1), span: SpanId(1), flags };
        assert_eq!(flags(Some(&parent(0)), TraceId(1), 1.0), 0);
        assert_eq!(flags(Some(&parent(3)), TraceId(1), 0.0), 3);
        assert_eq!(flags(None, TraceId(1), 1.0), 3);
        assert_eq!(flags(None, TraceId(1), 0.0), 2);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let context = Context { trace: TraceId(trace), span: SpanId(span), flags };
            prop_assert_eq!(Context::parse(&context.text()), Some(context));
        }

        #[test]
        fn who_samples_more_samples_these_too(seed: u64, less in 0.0..1.0f64, more in 0.0..1.0f64) {
            let id = TraceId::roll(&mut Dice::new(seed));
            prop_assert!(!id.is_sampled(less.min(more)) || id.is_sampled(less.max(more)));
        }

        #[test]
        fn nothing_makes_it_panic(text: Vec<u8>) {
            let _ = (Context::parse(&text), is_state([&*text].into_iter()));
        }
    }
}
