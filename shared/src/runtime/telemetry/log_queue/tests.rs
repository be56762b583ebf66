//! Tests of the queue on a real pipe that is not read at first.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, pipe};
use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// A queue that writes into a pipe, and the pipe's reader.
fn unread() -> (LogQueue, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    (LogQueue::start(writer).unwrap(), reader)
}

fn line(number: usize, length: usize) -> Vec<u8> {
    let mut line = format!("{number} {}", "x".repeat(length)).into_bytes();
    line.push(b'\n');
    line
}

/// The numbers of the received lines, up to `last`; each line must be complete.
fn numbers_up_to(reader: PipeReader, last: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for line in BufReader::new(reader).lines() {
        let line = line.unwrap();
        let Some((number, filling)) = line.split_once(' ') else { panic!("{line:?} is torn") };
        assert!(filling.bytes().all(|byte| byte == b'x'), "{line:?} is torn");
        numbers.push(number.parse().unwrap());
        if numbers.last() == Some(&last) {
            break;
        }
    }
    numbers
}

fn waiting(queue: &LogQueue) -> usize {
    let state = queue.0.state.lock();
    state.waiting.len() + state.in_hand
}

#[test]
fn with_nobody_to_read_ordinary_lines_leave_room_for_errors_and_both_for_metrics() {
    let (queue, reader) = unread();
    let mut number = 0;
    let mut taken = Vec::new();
    // Push far more lines of each kind in turn than there is room for; the later kinds still find room.
    for kind in [Kind::Ordinary, Kind::Error, Kind::Metrics] {
        let before = taken.len();
        for _ in 0..10_000 {
            number += 1;
            taken.extend(queue.push(kind, &line(number, 1_000)).then_some(number));
        }
        assert!(taken.len() > before + 100, "{kind:?} finds room");
        assert!((kind.limit() - 2_000..=kind.limit()).contains(&waiting(&queue)), "{kind:?}: {}", waiting(&queue));
    }
    let dropped = queue.0.state.lock().dropped;
    assert_eq!(usize::try_from(dropped).unwrap(), 30_000 - taken.len());

    let since = Instant::now();
    assert!(!queue.flush(Duration::from_millis(300)), "nobody reads");
    assert!((300..2_000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());

    // When the pipe is read, the accepted lines come complete and in order, and there is room again.
    let last = *taken.last().unwrap();
    assert_eq!(numbers_up_to(reader.try_clone().unwrap(), last), taken);
    assert!(queue.flush(Duration::from_secs(10)));
    queue.push(Kind::Ordinary, &line(0, 10));
    assert_eq!(numbers_up_to(reader, 0), [0]);
    assert_eq!(queue.0.state.lock().dropped, 0, "the thread has told");
}

#[test]
fn a_flush_waits_for_a_writer_that_is_stuck_for_so_long_and_no_longer() {
    /// Blocks until the test allows the write.
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The sender may be dropped, which also allows the write.
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (lets, stuck) = std::sync::mpsc::channel();
    let queue = LogQueue::start(Stuck(stuck)).unwrap();
    assert!(queue.push(Kind::Error, b"wanted\n"));
    for at_most in [0, 1, 50].map(Duration::from_millis) {
        let since = Instant::now();
        assert!(!queue.flush(at_most), "it is not written");
        assert!(since.elapsed() >= at_most);
    }
    assert_eq!(waiting(&queue), 7, "and not forgotten");
    drop(lets);
    assert!(queue.flush(Duration::from_secs(60)), "it ends before its time where the writer goes on");
}

#[test]
fn a_flush_ends_as_soon_as_all_is_written() {
    let (queue, reader) = unread();
    let reading = thread::spawn(move || numbers_up_to(reader, 999));
    for number in 0..1_000 {
        queue.push(Kind::Ordinary, &line(number, 500));
    }
    assert!(queue.flush(Duration::from_secs(60)));
    assert_eq!(reading.join().unwrap(), (0..1_000).collect::<Vec<_>>());
    assert!(queue.flush(Duration::ZERO), "nothing is left");
}

#[test]
fn a_reader_that_is_gone_stops_nobody() {
    let (queue, reader) = unread();
    drop(reader);
    for number in 0..10_000 {
        queue.push(Kind::Error, &line(number, 1_000));
    }
    assert!(queue.flush(Duration::from_secs(60)));
    assert_eq!(waiting(&queue), 0);
}

#[test]
fn a_writer_that_does_not_block_is_tried_again() {
    /// Accepts one byte on every other call.
    struct Reluctant(PipeWriter, bool);
    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(ErrorKind::WouldBlock.into()) } else { self.0.write(&bytes[..1]) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (reader, writer) = pipe().unwrap();
    let queue = LogQueue::start(Reluctant(writer, false)).unwrap();
    assert!((0..3).all(|number| queue.push(Kind::Ordinary, &line(number, 3))));
    assert_eq!(numbers_up_to(reader, 2), [0, 1, 2]);
}

#[test]
fn an_errors_line_is_known_by_its_level() {
    use tracing::subscriber::with_default;

    let (queue, reader) = unread();
    let subscriber = tracing_subscriber::fmt().with_writer(queue.clone()).finish();
    let detail = "x".repeat(1_000);
    let lines = with_default(subscriber, || {
        (0..10_000).for_each(|_| tracing::info!(detail, "ordinary"));
        let full = waiting(&queue);
        assert!(full <= Kind::Ordinary.limit());
        (0..10).for_each(|_| tracing::error!(detail, "wanted"));
        assert!(waiting(&queue) > full + 10_000);
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.filter(|line| line.contains("ERROR")).take(10).count()
    });
    assert_eq!(lines, 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// The model: a line is accepted if it and the waiting bytes are within its kind's limit. Nothing else is lost,
    /// torn or out of order, and the waiting bytes never exceed the limit.
    #[test]
    fn what_is_taken_comes_out(
        lines in prop::collection::vec((0..3usize, 0..200_000usize), 1..60), reads_at in 0..60usize
    ) {
        let (queue, reader) = unread();
        let (mut taken, mut reader) = (Vec::new(), Some(reader));
        let read = |reader| thread::spawn(move || numbers_up_to(reader, usize::MAX));
        let mut reading = None;
        for (number, &(kind, length)) in lines.iter().enumerate() {
            if number == reads_at {
                reading = reader.take().map(read);
            }
            let (kind, line) = ([Kind::Ordinary, Kind::Error, Kind::Metrics][kind], line(number, length));
            let before = waiting(&queue);
            let is_taken = queue.push(kind, &line);
            prop_assert!(waiting(&queue) <= kind.limit().max(before));
            // The reader and the pipe itself make room meanwhile.
            prop_assert!(is_taken || before + line.len() > kind.limit());
            taken.extend(is_taken.then_some(number));
        }
        // A last line ends the reading.
        let reading = reading.or_else(|| reader.take().map(read)).unwrap();
        prop_assert!(queue.flush(Duration::from_secs(60)));
        prop_assert_eq!(taken.len() as u64 + queue.lost(), lines.len() as u64, "each is taken or dropped");
        prop_assert!(queue.push(Kind::Ordinary, &line(usize::MAX, 0)));
        taken.push(usize::MAX);
        prop_assert_eq!(reading.join().unwrap(), taken, "just what was taken, in its order");
    }
}

#[test]
fn the_alarm_looks_for_what_is_said() {
    const ALARMS: &str = include_str!("../../../../../infra/terraform/alarms.tf");
    assert!(ALARMS.contains(&format!(r#"pattern        = "{{ $.message = \"{SAID}\" }}""#)), "{SAID}");
    assert!(ALARMS.contains(r#""$.dropped""#), "the field of the line");
}
