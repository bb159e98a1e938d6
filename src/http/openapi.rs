//! The OpenAPI 3.1 document and the BigQuery schema, as the component serves them.
//!
//! A test makes both from the code's lists of routes, parameters, formats, columns and problems, and compares: see
//! `tests/contract/openapi.rs`. The component holds the texts alone, since the code that makes them would take a tenth
//! of it.

/// The OpenAPI document.
pub const DOCUMENT: &str = include_str!("openapi/document.json");

/// The schema that `bq load --schema` takes for the flows: name, type and mode of each field.
pub const BIGQUERY_SCHEMA: &str = include_str!("openapi/bigquery.json");
