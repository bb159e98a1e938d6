//! The OpenAPI 3.1 document and the BigQuery schema, as the component serves them.
//!
//! A test makes the document from the code's lists of routes, parameters, formats, columns and problems, and compares:
//! see `tests/contract/openapi.rs`. The component holds the text alone, since the code that makes it would take a tenth
//! of it.

use crate::table::columns::{Column, ColumnType};

/// The OpenAPI document.
pub const DOCUMENT: &str = include_str!("openapi/document.json");

/// The schema that `bq load --schema` takes for flows of these columns: name, type and mode of each field.
pub fn bigquery_schema(columns: &[Column]) -> String {
    let field = |column: &Column| {
        let name = column.name;
        let kind = match column.column_type {
            ColumnType::Integer => "INTEGER",
            ColumnType::Text => "STRING",
        };
        // Tables from elsewhere may hold nulls, except in the key.
        let mode = if column.is_key {
            "REQUIRED"
        } else {
            "NULLABLE"
        };
        format!("  {{\"name\": \"{name}\", \"type\": \"{kind}\", \"mode\": \"{mode}\"}}")
    };
    let fields: Vec<_> = columns.iter().map(field).collect();
    format!("[\n{}\n]\n", fields.join(",\n"))
}
