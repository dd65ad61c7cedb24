//! The connections that one thread keeps busy. A thread for each connection would be simpler, and wakes one for each
//! request and each answer: on processors that the server needs too, the load would then measure itself.

use super::{Exchange, LoadReport, To, Waits};
use crate::http::{Answer, Inbox};
use rustix::event::{Timespec, epoll};
use std::collections::VecDeque;
use std::io::{self, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked for requests without an answer in time.
const LOOK: Duration = Duration::from_millis(50);

/// What is sent, when, and who is told.
pub(super) struct Plan<'a, R, D, E> {
    pub(super) to: &'a To,
    /// The number of the next request, over all threads.
    pub(super) next: &'a AtomicU64,
    pub(super) start: Instant,
    pub(super) request: &'a R,
    pub(super) due: &'a D,
    pub(super) each: &'a E,
}

/// A request that was made and is not due yet.
struct Held<B> {
    number: u64,
    due_at: Instant,
    bytes: B,
}

/// A request whose answer has not come.
struct UnderWay<B> {
    held: Held<B>,
    sent_at: Instant,
    /// How much of it the network has taken.
    written: usize,
}

/// A connection, if it has one, and what is under way on it.
struct Line<B> {
    socket: Option<TcpStream>,
    inbox: Inbox,
    under_way: Option<UnderWay<B>>,
}

/// The connections of one thread.
pub(super) struct Lines<B> {
    poll: OwnedFd,
    lines: Vec<Line<B>>,
    /// Those with nothing under way, in the order in which they became free.
    free: VecDeque<usize>,
    /// Whether there are no more requests.
    done: bool,
    looked: Instant,
    report: LoadReport,
}

impl<B: AsRef<[u8]>> Lines<B> {
    /// Connects them all.
    pub(super) fn open(to: &To, connections: usize) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let line = |number| {
            let socket = Some(connect(&poll, to.address, to.timeout, number)?);
            Ok(Line { socket, inbox: Inbox::default(), under_way: None })
        };
        let lines = (0..connections).map(line).collect::<io::Result<Vec<_>>>()?;
        let free = (0..connections).collect();
        Ok(Self { poll, lines, free, done: false, looked: Instant::now(), report: LoadReport::default() })
    }

    /// Sends what is due until there is no more, and all answers have come.
    pub(super) fn run<R, D, E>(mut self, plan: &Plan<'_, R, D, E>) -> io::Result<LoadReport>
    where
        R: Fn(u64) -> B,
        D: Fn(Instant, u64) -> Option<Instant>,
        E: Fn(&Exchange<'_>),
    {
        let mut held = None;
        let mut events = Vec::with_capacity(self.lines.len());
        loop {
            self.send(plan, &mut held);
            if self.done && self.free.len() == self.lines.len() {
                return Ok(self.report);
            }
            // A request that waits for its time is sent by a line that is free; else only an answer brings one.
            let until = held.as_ref().filter(|_| !self.free.is_empty()).map(|held| held.due_at);
            self.wait(plan.to.waits, until, &mut events)?;
            for event in events.drain(..) {
                self.turn(plan, usize::try_from(event.data.u64()).unwrap_or_default());
            }
            self.give_up(plan);
        }
    }

    /// Sends what is due as far as lines are free.
    fn send<R, D, E>(&mut self, plan: &Plan<'_, R, D, E>, held: &mut Option<Held<B>>)
    where
        R: Fn(u64) -> B,
        D: Fn(Instant, u64) -> Option<Instant>,
        E: Fn(&Exchange<'_>),
    {
        while let Some(&line) = self.free.front() {
            if held.is_none() && !self.done {
                let number = plan.next.fetch_add(1, Ordering::Relaxed);
                let bytes = (plan.request)(number);
                let due_at = (plan.due)(plan.start, number);
                self.done = due_at.is_none();
                *held = due_at.map(|due_at| Held { number, due_at, bytes });
            }
            let sent_at = Instant::now();
            let Some(due) = held.take_if(|held| held.due_at <= sent_at) else { return };
            self.free.pop_front();
            self.lines[line].under_way = Some(UnderWay { held: due, sent_at, written: 0 });
            if self.lines[line].socket.is_none() {
                match connect(&self.poll, plan.to.address, plan.to.timeout, line) {
                    Ok(socket) => self.lines[line].socket = Some(socket),
                    Err(error) => self.told(plan, line, Err(error)),
                }
            }
            if self.lines[line].under_way.is_some() {
                self.turn(plan, line);
            }
        }
    }

    /// Goes on with what is under way on a line, as far as the network has room or bytes.
    fn turn<R, D, E: Fn(&Exchange<'_>)>(&mut self, plan: &Plan<'_, R, D, E>, line: usize) {
        match self.lines[line].go_on() {
            Ok(None) => {}
            Ok(Some(answer)) => self.told(plan, line, Ok(answer)),
            Err(error) => self.told(plan, line, Err(error)),
        }
    }

    /// Notes what became of what was under way, and has the line free.
    fn told<R, D, E>(&mut self, plan: &Plan<'_, R, D, E>, line: usize, answer: io::Result<Answer>)
    where
        E: Fn(&Exchange<'_>),
    {
        let received_at = Instant::now();
        let at = &mut self.lines[line];
        let is_sent = at.under_way.as_ref().is_none_or(|it| it.written == it.held.bytes.as_ref().len());
        if answer.is_err() || at.inbox.closes || !is_sent {
            (at.socket, at.inbox) = (None, Inbox::default());
        }
        // A connection that ends while nothing is under way is made anew for the next request.
        let Some(UnderWay { held: Held { number, due_at, .. }, sent_at, .. }) = at.under_way.take() else {
            return;
        };
        self.free.push_back(line);
        let exchange = Exchange { number, due_at, sent_at, received_at, answer: answer.as_ref() };
        self.report.add(&exchange);
        (plan.each)(&exchange);
    }

    /// Fails what has had no answer for too long.
    fn give_up<R, D, E: Fn(&Exchange<'_>)>(&mut self, plan: &Plan<'_, R, D, E>) {
        let now = Instant::now();
        if now.duration_since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        let late = |line: &Line<B>| {
            line.under_way.as_ref().is_some_and(|it| now.duration_since(it.sent_at) > plan.to.timeout)
        };
        let late: Vec<_> = (0..self.lines.len()).filter(|&line| late(&self.lines[line])).collect();
        for line in late {
            let why = Error::new(ErrorKind::TimedOut, format!("no answer within {:?}", plan.to.timeout));
            self.told(plan, line, Err(why));
        }
    }

    /// Waits for the network, at most until something is due.
    fn wait(&self, waits: Waits, until: Option<Instant>, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let longest = match waits {
            Waits::Awake => Duration::ZERO,
            Waits::Asleep => {
                until.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()).min(LOOK))
            }
        };
        let longest = Timespec::try_from(longest).map_err(Error::other)?;
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<B: AsRef<[u8]>> Line<B> {
    /// Writes and reads; the answer when it is there whole.
    fn go_on(&mut self) -> io::Result<Option<Answer>> {
        let Some(socket) = &mut self.socket else { return Ok(None) };
        if let Some(UnderWay { held, written, .. }) = &mut self.under_way {
            let bytes = held.bytes.as_ref();
            let before = *written;
            while *written < bytes.len() {
                match socket.write(&bytes[*written..]) {
                    Ok(n) => *written += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if before == 0 && *written == bytes.len() {
                // The answer is told of when it comes.
                return Ok(None);
            }
        }
        // News come once: what is not read to its end now is not told of again, an end least of all.
        loop {
            match self.inbox.read(&mut *socket) {
                Ok(()) => {
                    let answer = self.inbox.answer()?;
                    if answer.is_some() {
                        return Ok(answer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A connection whose news the poll tells once each, under the number of its line. It is waited for, which takes no time where
/// the server is on the same machine.
fn connect(poll: &OwnedFd, address: SocketAddr, timeout: Duration, line: usize) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let news = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(poll, &socket, epoll::EventData::new_u64(line as u64), news)?;
    Ok(socket)
}
