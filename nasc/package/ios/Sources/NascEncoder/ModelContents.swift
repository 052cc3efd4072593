// SPDX-License-Identifier: Apache-2.0
// What a package says of itself to its own code; Contents.swift holds that of this one.

/// A file among the resources.
struct FileRecord: Sendable {
    let name: String
    let sizeBytes: Int
    let sha256: String
}

/// Of the model; `rows` and `tokens` are of the only inputs that it takes, 0 if both are free.
struct ModelContents: Sendable {
    let model: FileRecord
    let tokenizer: FileRecord
    let dimensions: Int
    let maxLength: Int
    let padToken: Int64
    let rows: Int
    let tokens: Int
    let output: String
    let threads: Int
}
