//! The subscribers of what commands publish: files, validations, and what is cached.

mod expire;
mod files;
mod kit;
mod laws;
mod read_model;
mod validator;
