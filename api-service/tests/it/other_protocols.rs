//! Clients and proxies that do not speak HTTP/1: the log names what they speak, and the metrics count them.

use devstack::kit::json_lines;

use crate::half_close::counted;
use crate::prelude::*;

#[tokio::test]
async fn other_protocols_are_named_in_the_log_and_counted() {
    let scope = prepared("protocols").await;
    let binary = Binary::with(&scope, &[]);
    let version_2 = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x12\x34\x1f\x40";
    let table = [
        ("http2", "HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(), ""),
        ("proxy_protocol", "PROXY protocol", format!("PROXY TCP4 127.0.0.1 127.0.0.1 4660 8000\r\n{LIVE}"), "400"),
        ("proxy_protocol", "PROXY protocol", format!("PROXY UNKNOWN\r\n{LIVE}"), "400"),
        ("proxy_protocol", "PROXY protocol", format!("{version_2}{LIVE}"), "400"),
        ("tls", "speaks TLS", "\x16\x03\x01\0\x05\x01\0\0\x01\x03".to_owned(), "400"),
        ("unreadable", "", "nonsense\r\n\r\n".to_owned(), "400"),
    ];
    for (_, _, bytes, status) in &table {
        let mut raw = Raw::send(binary.address, bytes).await;
        let answer = raw.read_to_the_end().await;
        let expected = if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status}") };
        assert!(answer.starts_with(&expected) && answer.is_empty() == expected.is_empty(), "{bytes:?}: {answer}");
    }
    for (reason, count) in [("http2", 1), ("proxy_protocol", 3), ("tls", 1), ("unreadable", 1)] {
        counted(&binary, &format!("http_connections_closed_total{{reason=\"{reason}\"}} {count}")).await;
    }
    let lines = async || {
        let log = binary.service.log();
        let lines: Vec<_> =
            json_lines(&log).filter(|line| line["message"] == "a request that cannot be read").collect();
        if lines.len() == table.len() { Ok(lines) } else { Err(log) }
    };
    let lines = found("there is one line for each", lines).await;
    // A connection's line follows its answer, so two connections' lines can change places.
    let mut expected: Vec<_> = table.iter().map(|(reason, names, ..)| (*reason, *names)).collect();
    for line in &lines {
        assert_eq!(line["level"], "INFO", "{line}");
        let (reason, error) = (line["reason"].as_str().unwrap(), line["error"].as_str().unwrap());
        let its = expected.iter().position(|(of, names)| *of == reason && error.contains(names));
        expected.swap_remove(its.unwrap_or_else(|| panic!("no such line is expected (any more): {line}")));
    }
    // The port still takes HTTP.
    assert!(Raw::send(binary.address, LIVE).await.read_answer().await.starts_with("HTTP/1.1 200"));
}
