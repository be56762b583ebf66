//! Bad bodies, and bodies that nobody wants.

use crate::prelude::*;

#[tokio::test]
async fn every_fault_has_its_pointer() {
    let app = TestApp::start("bad_input_faults").await;
    let request = app.submission(&admin(), r#"{"device_id":"a b","payload":{"x":"\u0000"},"oops":1}"#);
    let problem = problem(request.header("x-request-id", "r").send().await.unwrap()).await;
    insta::assert_json_snapshot!(problem, @r#"
    {
      "code": "invalid_event",
      "detail": "see errors for what is wrong with it",
      "errors": [
        {
          "detail": "is not a field of an event",
          "pointer": "/oops"
        },
        {
          "detail": "may contain only A-Z a-z 0-9 . _ : -",
          "pointer": "/device_id"
        },
        {
          "detail": "contains \\u0000",
          "pointer": "/payload/x"
        }
      ],
      "request_id": "r",
      "status": 422,
      "title": "The body is not an event",
      "type": "/problems/invalid_event"
    }
    "#);
}

#[tokio::test]
async fn a_large_body_is_not_read_for_a_bad_token_and_the_answer_arrives() {
    let app = TestApp::start("bad_input_early").await;
    let old =
        devstack::token::hs256("another secret of thirty-two bytes", "a", &["admin"], &[], Duration::from_secs(60));
    for _ in 0..10 {
        let response = app.submission(&old.as_ref().unwrap().clone(), vec![b' '; 900 * 1024]).send().await.unwrap();
        assert_eq!(response.status(), 401);
        let response = app.submission(&token(&["user"], &[]), vec![b' '; 900 * 1024]).send().await.unwrap();
        assert_eq!(response.status(), 403);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_without_saying_so() {
    let app = TestApp::start("bad_input_chunked").await;
    let mut raw = Raw::connect(app.address).await;
    let token = admin();
    raw.write(&format!(
        "POST /events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    ))
    .await;
    for _ in 0..5 {
        raw.write(&format!("10000\r\n{}\r\n", " ".repeat(0x10000))).await;
    }
    raw.write("0\r\n\r\n").await;
    let answer = raw.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(r#""code":"body_too_large""#), "{answer}");
}
