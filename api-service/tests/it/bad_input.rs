//! Bad bodies, and bodies that nobody wants.

use crate::prelude::*;

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
