//! Protocols that this port does not speak, recognised by their first bytes. hyper would only say that there is no
//! HTTP/1 request, and the cause is nearly always a setting of what stands in front of this port.

/// A protocol other than HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    Http2,
    ProxyProtocol,
    Tls,
}

impl Foreign {
    /// The protocol of a connection that begins with these bytes; `None` if it may be HTTP/1.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        // RFC 9113, section 3.4; the PROXY protocol's specification, section 2; RFC 8446, section 5.1 (a handshake).
        const BEGINNINGS: [(&[u8], Foreign); 5] = [
            (b"PRI * HTTP/2.0\r\n", Foreign::Http2),
            (b"PROXY TCP", Foreign::ProxyProtocol),
            (b"PROXY UNKNOWN", Foreign::ProxyProtocol),
            (b"\r\n\r\n\0\r\nQUIT\n", Foreign::ProxyProtocol),
            (b"\x16\x03", Foreign::Tls),
        ];
        BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|(_, protocol)| *protocol)
    }

    /// The label of metrics and of the log line.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Http2 => "http2",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Tls => "tls",
        }
    }

    /// The text of the log line.
    pub(super) const fn error(self) -> &'static str {
        match self {
            Self::Http2 => "the client speaks HTTP/2 with prior knowledge, and this port takes HTTP/1.1 only",
            Self::ProxyProtocol => {
                "the connection begins with a PROXY protocol header: switch it off in what stands in front of this port"
            }
            Self::Tls => "the client speaks TLS, and this port takes HTTP/1.1 without TLS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognised_and_http_is_not_one() {
        for (bytes, expected) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04"[..], Some(Foreign::Http2)),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 8000\r\nGET / HTTP/1.1\r\n", Some(Foreign::ProxyProtocol)),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 8000\r\n", Some(Foreign::ProxyProtocol)),
            (b"PROXY UNKNOWN\r\n", Some(Foreign::ProxyProtocol)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Some(Foreign::ProxyProtocol)),
            (b"\x16\x03\x01\x02\0\x01", Some(Foreign::Tls)),
            (b"POST /events HTTP/1.1\r\n", None),
            // A method of this name would be HTTP.
            (b"PROXY / HTTP/1.1\r\n", None),
            (b"PRI * HTTP/1.1\r\n", None),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(bytes), expected, "{bytes:?}");
        }
    }
}
