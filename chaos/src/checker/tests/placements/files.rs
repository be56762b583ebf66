//! Promise 10: files.

use super::*;

#[test]
fn the_bytes_of_a_file_are_those_of_its_revision() {
    says(&[10], "its json was read at revision 5", |observed, _| observed.files[0].sha256 = Some(sha256(b"{}")));
    says(&[10], "its json was read at revision 5", |observed, _| observed.files[1].etag = sha256(b"{}"));
    says(&[10], "its vtt was read at revision 11", |observed, _| {
        let other = sha256(VTT_11.replace("\\u003e", ">").as_bytes());
        let read = observed.files.iter_mut().find(|read| read.kind == "vtt").unwrap();
        (read.etag, read.sha256) = (other.clone(), Some(other));
    });
    says(&[10], "its json was read at revision 7, which it never had", |observed, _| observed.files[0].revision = 7);
}

#[test]
fn the_newest_files_are_in_the_store() {
    says(&[10], "its json is {\"placements\"", |_, end| {
        let content = JSON_11.replace("\"mug\"", "\"cup\"");
        let hash = sha256(content.as_bytes());
        (end.files[0].sha256, end.objects[0].sha256, end.objects[0].content) = (hash.clone(), hash, content);
    });
    says(&[10], "its json is damaged", |_, end| end.objects[0].content.push(' '));
    says(&[10], "the store has not its vtt", |_, end| drop(end.objects.pop()));
    says(&[10], "it has no vtt at last", |_, end| drop(end.files.pop()));
    says(&[10], "at revision 11 its json and its row are of (9, 11)", |_, end| end.files[0].revision = 9);
    says(&[7, 10], "at revision 11 its json and its row are of (11, 9)", |_, end| end.videos[0].ready_revision = 9);
}

#[test]
fn a_revision_never_falls() {
    let older = |from: f64| {
        move |observed: &mut Placements, _: &mut PlacementsEnd| {
            let from = Duration::from_secs_f64(from);
            observed.files.push(FileRead { from, to: from + at(1), ..read("json", 0, 5, JSON_5) });
        }
    };
    says(&[10], "its json was read at 30.011 s at revision 5, after 11", older(30.011));
    assert_eq!(said(older(30.01)), [""; 0], "both at once");
    assert_eq!(said(older(29.0)), [""; 0]);
    let of_the_other = |observed: &mut Placements, _: &mut PlacementsEnd| {
        observed.files.retain(|read| read.kind == "vtt" || read.revision < 11);
        observed.files.push(read("json", 40, 5, JSON_5));
    };
    assert_eq!(said(of_the_other), [""; 0], "files are read one by one");
}
