//! Extracts the files that the page at `/docs` needs from the archive of Swagger UI, compressed as they are served.

use std::error::Error;
use std::fs::File;
use std::io::{Cursor, copy};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// If one is missing, `include_bytes!` fails.
const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for place in 0..archive.len() {
        let mut file = archive.by_index(place)?;
        let path = file.name()?.into_owned();
        let Some(name) = FILES.into_iter().find(|name| path.ends_with(&format!("/dist/{name}"))) else { continue };
        let mut packed = GzEncoder::new(File::create(folder.join(format!("{name}.gz")))?, Compression::best());
        copy(&mut file, &mut packed)?;
        packed.finish()?;
    }
    Ok(())
}
