//! A wrong setting ends the start: one clear line, status 2, and no bound port.

use std::process::Command;

/// Long enough for a secret.
const LONG: &str = "planted-7f3a-planted-7f3a-plante";

/// The error output of the binary, started with valid settings and these.
fn refused(settings: &[(&str, &str)]) -> String {
    let good = [
        ("KAFKA_BROKERS", "127.0.0.1:1"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        // 32 bytes, the minimum.
        ("JWT_SECRET", LONG),
        // An address that cannot be bound: an attempt ends with another error.
        ("API_BIND", "192.0.2.1:1"),
        ("OPS_BIND", "192.0.2.1:1"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_api-service"));
    let output = command.env_clear().envs(good).envs(settings.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("planted"), "{said}");
    said
}

#[test]
fn one_clear_line_names_the_setting() {
    for (settings, expected) in [
        (
            &[("JWT_SECRET", "planted-7f3a-planted-7f3a-plant\n")][..],
            "JWT_ALLOW_SHORT_SECRET=true accepts a shorter one",
        ),
        (&[("JWT_SECRET", "planted"), ("JWT_ALLOW_SHORT_SECRET", "false")], "JWT_SECRET must have at least 32 bytes"),
        (&[("JWT_SECRET_PREVIOUS", "planted")], "JWT_SECRET_PREVIOUS must have at least 32 bytes"),
        (&[("JWT_SECRET_ALGORITHM", "HS512")], "JWT_SECRET must have at least 64 bytes, as HS512 requires"),
        (&[("JWT_SECRET_ALGORITHM", "RS256")], "JWT_SECRET_ALGORITHM"),
        (&[("JWT_ROLES_CLAIM", "a..b")], "JWT_ROLES_CLAIM>': \"a..b\" has an empty name"),
        (&[("JWT_DEVICES_CLAIM", "example.com/id")], "\"example.com/id\" has a slash"),
        (&[("JWT_AUDIENCE", "a,,b")], "JWT_AUDIENCE>': there is nothing between two commas"),
        (&[("JWT_AUDIENCE_CLAIM", "client_id")], "JWT_AUDIENCE_CLAIM is set, and JWT_AUDIENCE is not"),
        (&[("JWT_ROLES_MAP", "Ops")], "\"Ops\" must be a role of the issuer, `=`, and a role of this service"),
        (
            &[("JWT_ROLES_MAP", "Ops=amdin")],
            "JWT_ROLES_MAP: unknown role \"amdin\" for \"Ops\"; known: device, user, admin",
        ),
        (&[("JWT_REQUIRED_CLAIMS", "token_use")], "\"token_use\" must be a claim, `=`, and its value"),
        (&[("JWT_SECRET", ""), ("JWT_ALLOW_SHORT_SECRET", "true")], "JWT_SECRET is empty"),
        (&[("INTERNAL_JWT_SECRET", "planted")], "INTERNAL_JWT_SECRET must have at least 32 bytes, as HS256 requires"),
        (&[("INTERNAL_JWT_SECRET_PREVIOUS", LONG)], "INTERNAL_JWT_SECRET_PREVIOUS needs INTERNAL_JWT_SECRET"),
        (&[("VALIDATION_URL", "http://h")], "VALIDATION_URL needs INTERNAL_JWT_SECRET"),
        (&[("VALIDATION_URL", "h"), ("INTERNAL_JWT_SECRET", LONG)], "VALIDATION_URL is not a URL"),
        (
            &[("VALIDATION_URL", "http://u:planted@h"), ("INTERNAL_JWT_SECRET", LONG)],
            "VALIDATION_URL must not contain a user or a password",
        ),
        (&[("VALIDATION_TIMEOUT", "31s")], "VALIDATION_TIMEOUT"),
        (&[("JWT_ALLOW_SHORT_SECRET", "perhaps")], "JWT_ALLOW_SHORT_SECRET"),
        (&[("ACCESS_LOG", "some")], "ACCESS_LOG>': it must be `all`, `errors`, or a share from 0 to 1, such as `0.01`"),
        (&[("ACCESS_LOG", "1.5")], "ACCESS_LOG"),
        (
            &[("CORS_ORIGINS", "https://a.example/")],
            "CORS_ORIGINS>': \"https://a.example/\" is not an origin as browsers",
        ),
        (&[("CORS_ORIGINS", "*")], "CORS_ORIGINS>': \"*\" is not an origin, such as https://dashboard.example"),
        (
            &[("WEBHOOK_ALLOWED_ORIGINS", "https://a")],
            "\"https://a\" is not a sender's name, such as eventgrid.azure.net",
        ),
        (&[("JWT_JWKS_URL", "http://planted.example/jwks")], "JWT_JWKS_URL must be https"),
        (&[("JWT_JWKS_URL", "https://u:planted@h/jwks")], "JWT_JWKS_URL must not contain a user or a password"),
        (&[("JWT_JWKS_URL", "planted")], "JWT_JWKS_URL is not a URL"),
        (&[("JWT_JWKS_FILE", "/nowhere/jwks.json")], "JWT_JWKS_FILE=/nowhere/jwks.json: No such file"),
        (&[("JWT_JWKS_FILE", "/dev/null")], "JWT_JWKS_FILE=/dev/null: it is not a JWKS"),
        (&[("JWT_JWKS_FILE", "f"), ("JWT_JWKS_URL", "https://h")], "set one of them, not both"),
        (&[("MAX_BYTES_IN_FLIGHT", "1")], "MAX_BYTES_IN_FLIGHT"),
        (&[("RATE_LIMIT_BURST", "1")], "RATE_LIMIT_BURST is set, and RATE_LIMIT_EVENTS_PER_SECOND is not"),
        (&[("KAFKA_MESSAGE_TIMEOUT", "10s")], "KAFKA_MESSAGE_TIMEOUT=10s must be less than REQUEST_TIMEOUT=10s"),
        (&[("KAFKA_LINGER", "6s")], "KAFKA_LINGER=6s must be less than KAFKA_MESSAGE_TIMEOUT=5s"),
        (&[("REDIS_TIMEOUT", "10s")], "REDIS_TIMEOUT=10s must be less than REQUEST_TIMEOUT=10s"),
        (&[("REQUEST_TIMEOUT", "soon")], "REQUEST_TIMEOUT"),
        (&[("DATABASE_URL", "planted")], "DATABASE_URL is not a PostgreSQL URL"),
        (&[("REDIS_URL", "planted")], "REDIS_URL is not a Redis URL"),
        (&[("REDIS_TLS_CA", "/ca")], "REDIS_TLS_CA=/ca: No such file"),
        (&[("REDIS_TLS_CA", "/dev/null")], "REDIS_TLS_CA=/dev/null: there is no certificate in it"),
        (&[("REDIS_URL", "rediss://:planted@h/#insecure")], "REDIS_URL must not end with #insecure"),
        (&[("PGSSLROOTCERT", "/ca")], "sslrootcert=/ca: No such file"),
        (&[("DATABASE_URL", "postgres://h/d?sslmode=verify-full&sslrootcert=/ca")], "sslrootcert=/ca: No such file"),
        (&[("DATABASE_POOLER", "session")], "DATABASE_POOLER"),
        (
            &[("DATABASE_POOLER", "transaction"), ("PGOPTIONS", "-c a=b")],
            "DATABASE_POOLER=transaction cannot have options, in DATABASE_URL or PGOPTIONS",
        ),
        (&[("CACHE_TTL", "0s")], "CACHE_TTL>': it must be from 1s to 30days"),
        (&[("DATABASE_TIMEOUT", "1000000years")], "DATABASE_TIMEOUT>': it must be from 100ms to 1m"),
        (&[("KAFKA_MESSAGE_TIMEOUT", "30days")], "KAFKA_MESSAGE_TIMEOUT>': it must be from 1ms to 1h"),
        (&[("DATABASE_MAX_CONNECTIONS", "4294967295")], "DATABASE_MAX_CONNECTIONS"),
        (&[("KAFKA_INPUT_TOPIC", "^events-.*")], "KAFKA_INPUT_TOPIC>': it must be the name of a topic"),
        (&[("KAFKA_INPUT_TOPIC", "events-dlq")], "KAFKA_INPUT_TOPIC and KAFKA_DLQ_TOPIC are the same topic"),
        (&[("KAFKA_BROKERS", ",")], "KAFKA_BROKERS>': entry 1 is empty: it must be host:port, separated by commas"),
        (&[("KAFKA_BROKERS", "b:9092,c")], "KAFKA_BROKERS>': entry 2 has no port"),
        (&[("KAFKA_BROKERS", "SSL://b:9093")], "KAFKA_BROKERS names SSL://, and KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        (&[("REDIS_URL", "redis://a,redis://b")], "REDIS_URL is not a Redis URL"),
        (&[("REDIS_URL", "redis://a,,redis://b"), ("REDIS_CLUSTER", "true")], "REDIS_URL is not a Redis URL"),
        (&[("KAFKA_SSL_CA_LOCATION", "/ca")], "KAFKA_SSL_CA_LOCATION needs KAFKA_SECURITY_PROTOCOL"),
        (&[("KAFKA_SASL_MECHANISM", "PLAIN")], "KAFKA_SASL_MECHANISM needs KAFKA_SECURITY_PROTOCOL"),
        (&[("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")], "needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"), ("KAFKA_SASL_MECHANISM", "OAUTHBEARER")],
            "KAFKA_SASL_MECHANISM=OAUTHBEARER needs KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, ",
        ),
        (&[("KAFKA_SSL_KEY_PEM", "planted")], "KAFKA_SSL_KEY_PEM needs KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL"),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "SSL"), ("KAFKA_SSL_KEY_PEM", "planted")],
            "a client certificate (KAFKA_SSL_CERTIFICATE_LOCATION or _PEM) and its private key",
        ),
        (
            &[
                ("KAFKA_SECURITY_PROTOCOL", "SSL"),
                ("KAFKA_SSL_CERTIFICATE_LOCATION", "/nowhere/c.pem"),
                ("KAFKA_SSL_KEY_PEM", "planted"),
            ],
            "cannot create a Kafka client: Client creation error: ssl.certificate.location failed: ",
        ),
        (&[("KAFKA_PROPERTIES", "no.such=1")], r#"KAFKA_PROPERTIES: No such configuration property: "no.such""#),
        (&[("KAFKA_PROPERTIES", "acks=1")], "KAFKA_PROPERTIES: acks cannot be set here: a 202 means that all"),
        (&[("KAFKA_PROPERTIES", "internal.termination.signal=9")], "internal.termination.signal cannot be set here: "),
        (&[("KAFKA_PROPERTIES", "debug=all,planted")], "KAFKA_PROPERTIES: entry 2 is no name=value"),
        (&[("KAFKA_PROPERTIES", "sasl.password=planted")], "it has a setting of its own, KAFKA_SASL_PASSWORD"),
        (&[("JWT_DEVICE_BINDING", "maybe")], "JWT_DEVICE_BINDING"),
        (&[("API_BIND", "here")], "API_BIND"),
        (&[("RUST_LOG", "api=loud")], "RUST_LOG"),
    ] {
        let said = refused(settings);
        assert!(said.starts_with("error: ") && said.contains(expected), "{said}");
    }
}

#[test]
fn authorities_are_refused_where_they_would_verify_nothing() {
    let file = std::env::temp_dir().join(format!("authorities-{}-api.pem", std::process::id()));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").unwrap();
    let file = file.to_string_lossy();
    for mode in ["", "sslmode=require&", "sslmode=prefer&"] {
        let url = format!("postgres://u:planted@h/d?{mode}sslrootcert={file}");
        let said = refused(&[("DATABASE_URL", &url)]);
        assert!(said.contains("no sslmode that verifies anything: add sslmode=verify-full"), "{said}");
    }
    let said = refused(&[("REDIS_TLS_CA", &file)]);
    assert!(said.contains("REDIS_TLS_CA needs a REDIS_URL that begins with rediss://"), "{said}");
    std::fs::remove_file(&*file).unwrap();
}

/// tokio reads this variable itself, and panics if it is invalid.
#[test]
fn a_number_of_threads_that_is_none_is_refused_by_name() {
    for threads in ["planted", "0", ""] {
        let said = refused(&[("TOKIO_WORKER_THREADS", threads), ("RUST_BACKTRACE", "1")]);
        assert_eq!(said, "error: TOKIO_WORKER_THREADS must be a number from 1 to 1024, or not set\n");
    }
}
