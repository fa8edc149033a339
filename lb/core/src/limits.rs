//! Budgets: how much may be under way at once, counted exactly over all workers.
//!
//! A [`Budget`] is one atomic number that is compared and raised; a [`Permit`] is the right to one
//! unit and gives it back when dropped, whatever ended it. Without a limit nothing is written, so
//! what nobody limits costs a load of a line nobody writes. Whoever finds a budget full may wait
//! in its [`Queue`], first come, first served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Waker;

/// A bounded count. Written by workers (use) and control (bound).
#[derive(Debug)]
pub struct Budget {
    used: AtomicU32,
    /// [`Self::UNLIMITED`] is none.
    most: AtomicU32,
    /// Units refused since the start.
    refused: AtomicU64,
    /// Who waits for a unit of this, or of others that share the queue.
    queue: Arc<Queue>,
}

impl Budget {
    const UNLIMITED: u32 = u32::MAX;

    /// A budget of at most `most` units; `None` is no limit.
    #[must_use]
    pub const fn new(most: Option<u32>, queue: Arc<Queue>) -> Self {
        let most = match most {
            Some(most) => most,
            None => Self::UNLIMITED,
        };
        Self { used: AtomicU32::new(0), most: AtomicU32::new(most), refused: AtomicU64::new(0), queue }
    }

    /// Sets a new bound. What is over it stays until it is given back; who waited may now have room.
    pub fn set_most(&self, most: Option<u32>) {
        if self.most.swap(most.unwrap_or(Self::UNLIMITED), SeqCst) != most.unwrap_or(Self::UNLIMITED) {
            self.queue.wake_all();
        }
    }

    /// The bound, if there is one.
    #[must_use]
    pub fn most(&self) -> Option<u32> {
        Some(self.most.load(Relaxed)).filter(|&most| most != Self::UNLIMITED)
    }

    /// Units in use. Without a bound nothing is counted: 0.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.load(Relaxed)
    }

    /// How often a unit was refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Adds what was refused before this process.
    pub(crate) fn add_earlier(&self, refused: u64) {
        self.refused.fetch_add(refused, Relaxed);
    }

    /// Whether [`Self::take`] would fail now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let most = self.most.load(Relaxed);
        most != Self::UNLIMITED && self.used.load(Relaxed) >= most
    }

    /// One unit, if there is one left. Without a bound the permit is empty and costs nothing.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let most = self.most.load(SeqCst);
        if most == Self::UNLIMITED {
            return Some(Permit(None));
        }
        let taken = self.used.fetch_update(SeqCst, SeqCst, |used| (used < most).then_some(used + 1));
        taken.ok().map(|_| Permit(Some(Arc::clone(self))))
    }

    /// One unit, if there is one left and nobody waits for it already.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        if self.most.load(SeqCst) != Self::UNLIMITED && self.queue.waiting() > 0 {
            return None;
        }
        self.take()
    }

    /// Notes that somebody was sent away for want of a unit.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Where to wait.
    #[must_use]
    pub const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    fn give_back(&self) {
        self.used.fetch_sub(1, SeqCst);
        self.queue.wake_one();
    }
}

/// The right to one unit of a [`Budget`]; given back when dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit(Option<Arc<Budget>>);

impl Permit {
    /// A unit of what has no limit.
    pub const UNLIMITED: Self = Self(None);
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(budget) = self.0.take() {
            budget.give_back();
        }
    }
}

/// Who waits for a unit, in the order they came. Touched only where a budget is full.
#[derive(Debug, Default)]
pub struct Queue {
    /// Tickets in the queue; looked at before the lock is.
    waiting: AtomicU32,
    line: Mutex<Line>,
    /// Who may hold units that are not in use, by number.
    lenders: Mutex<Vec<(usize, Waker)>>,
}

#[derive(Debug, Default)]
struct Line {
    tickets: VecDeque<(u64, Waker)>,
    given: u64,
}

impl Queue {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Registers who may hold units that are not in use, as an idle connection is: `waker` is
    /// called whenever somebody begins to wait. Once for each number.
    pub fn lend(&self, who: usize, waker: &Waker) {
        let mut lenders = self.lenders.lock().unwrap_or_else(PoisonError::into_inner);
        match lenders.iter_mut().find(|(number, _)| *number == who) {
            Some((_, its)) => its.clone_from(waker),
            None => lenders.push((who, waker.clone())),
        }
    }

    fn call_lenders(&self) {
        let lenders = self.lenders.lock().unwrap_or_else(PoisonError::into_inner);
        lenders.iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// A place at the end, if fewer than `most` wait. After taking it, look once more whether
    /// there is room: what was given back before is not told.
    pub fn join(self: &Arc<Self>, most: u32, waker: &Waker) -> Option<Ticket> {
        let mut line = self.line();
        if line.tickets.len() >= most as usize {
            return None;
        }
        line.given += 1;
        let number = line.given;
        line.tickets.push_back((number, waker.clone()));
        self.waiting.store(line.tickets.len() as u32, SeqCst);
        drop(line);
        self.call_lenders();
        Some(Ticket { queue: Arc::clone(self), number })
    }

    fn wake_one(&self) {
        if self.waiting() > 0 {
            let first = self.line().tickets.front().map(|(_, waker)| waker.clone());
            if let Some(waker) = first {
                waker.wake();
            }
        }
    }

    fn wake_all(&self) {
        let all: Vec<Waker> = self.line().tickets.iter().map(|(_, waker)| waker.clone()).collect();
        all.into_iter().for_each(Waker::wake);
    }

    fn leave(&self, number: u64) {
        let mut line = self.line();
        let was_first = line.tickets.front().is_some_and(|(first, _)| *first == number);
        line.tickets.retain(|(other, _)| *other != number);
        self.waiting.store(line.tickets.len() as u32, SeqCst);
        // Whoever is woken and leaves, served or not, passes it on: a unit may be left for the next.
        let next = line.tickets.front().filter(|_| was_first).map(|(_, waker)| waker.clone());
        drop(line);
        if let Some(waker) = next {
            waker.wake();
        }
    }

    /// Nothing in here can be left half done by a panic.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a [`Queue`]; given up when dropped.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    number: u64,
}

impl Ticket {
    /// Whether it is this one's turn: nobody came before. If not, `waker` is told when it is.
    pub fn is_first(&self, waker: &Waker) -> bool {
        let mut line = self.queue.line();
        for (at, (number, its)) in line.tickets.iter_mut().enumerate() {
            if *number == self.number {
                its.clone_from(waker);
                return at == 0;
            }
        }
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn bell() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell(AtomicUsize::new(0)));
        (Arc::clone(&bell), bell.into())
    }

    #[test]
    fn a_budget_is_exact_and_a_permit_comes_back() {
        let budget = Arc::new(Budget::new(Some(2), Queue::new()));
        let (first, second) = (budget.take(), budget.take());
        assert!(first.is_some() && second.is_some() && budget.take().is_none() && budget.is_full());
        drop(first);
        assert!(budget.take().is_some());
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn who_may_have_idle_units_is_called_when_somebody_waits() {
        let (_, own) = bell();
        let (queue, (bell, waker)) = (Queue::new(), bell());
        queue.lend(0, &waker);
        queue.lend(0, &waker);
        let _first = queue.join(1, &own);
        assert_eq!(bell.0.load(SeqCst), 1);
        assert!(queue.join(1, &own).is_none());
        assert_eq!(bell.0.load(SeqCst), 1, "there is no place, so nobody waits");
    }

    #[test]
    fn many_threads_never_overshoot() {
        let budget = Arc::new(Budget::new(Some(3), Queue::new()));
        let (inside, worst) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(_permit) = budget.take() {
                            worst.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                            inside.fetch_sub(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
        assert!((1..=3).contains(&worst.load(SeqCst)));
    }

    #[test]
    fn a_lower_bound_waits_for_what_is_out() {
        let budget = Arc::new(Budget::new(Some(3), Queue::new()));
        let mut out: Vec<_> = (0..3).filter_map(|_| budget.take()).collect();
        budget.set_most(Some(1));
        out.truncate(1);
        assert!(budget.take().is_none());
        out.clear();
        assert!(budget.take().is_some());
        budget.set_most(None);
        let many: Vec<_> = (0..100).filter_map(|_| budget.take()).collect();
        assert_eq!((many.len(), budget.used()), (100, 0));
    }

    #[test]
    fn who_came_first_is_told_first_and_passes_it_on() {
        let queue = Queue::new();
        let budget = Arc::new(Budget::new(Some(1), Arc::clone(&queue)));
        let held = budget.take();
        let ((first_bell, first_waker), (second_bell, second_waker)) = (bell(), bell());
        let first = queue.join(2, &first_waker).unwrap();
        let second = queue.join(2, &second_waker).unwrap();
        assert!(queue.join(2, &first_waker).is_none());
        drop(held);
        assert_eq!((first_bell.0.load(SeqCst), second_bell.0.load(SeqCst)), (1, 0));
        assert!(first.is_first(&first_waker) && !second.is_first(&second_waker));
        drop(first);
        assert_eq!(second_bell.0.load(SeqCst), 1);
        assert!(second.is_first(&second_waker));
        drop(second);
        assert_eq!(queue.waiting(), 0);
    }
}
