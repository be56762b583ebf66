//! Tests that share servers do not meet.

use devstack::Scope;

use crate::helpers::sql;

#[test]
fn each_scope_has_a_database_and_names_of_its_own() {
    let scopes: Vec<Scope> = std::thread::scope(|threads| {
        let making: Vec<_> = (0..4).map(|_| threads.spawn(|| Scope::new("the same").unwrap())).collect();
        making.into_iter().map(|scope| scope.join().unwrap()).collect()
    });
    for scope in &scopes {
        sql(&scope.database_url, "CREATE TABLE mine ()");
        let env = scope.env();
        assert!(env.contains(&("DATABASE_URL".to_owned(), scope.database_url.clone())));
        assert!(env.contains(&("KAFKA_INPUT_TOPIC".to_owned(), scope.input_topic.clone())));
    }
    let mut topics: Vec<&str> = scopes.iter().map(|scope| scope.input_topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), scopes.len());
}
