// SPDX-License-Identifier: Apache-2.0
// What comes is what Hugging Face's tokenizers and the model in Python give.

import CryptoKit
import Foundation
import XCTest

@testable import NascEncoder

private struct GoldenTokens: Decodable {
    let text: String
    let pair: String?
    let max_length: Int?
    let ids: [Int64]
    let type_ids: [Int64]
}

private struct GoldenVectors: Decodable {
    struct Text: Decodable {
        let text: String
        let input_ids: [Int64]
        let vector: [Float]
    }

    let tolerance: Float
    let texts: [Text]
}

final class GoldenTests: XCTestCase {
    /// The package's folder, by the path of this file.
    private let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private func resource(_ record: FileRecord) -> URL {
        folder.appendingPathComponent("Sources/NascEncoder/Resources/\(record.name)")
    }

    func testFilesAreThoseOfThePackage() throws {
        for record in [contents.model, contents.tokenizer] {
            let digest = SHA256.hash(data: try Data(contentsOf: resource(record)))
            XCTAssertEqual(digest.map { String(format: "%02x", $0) }.joined(), record.sha256)
        }
    }

    func testTokensAreThoseOfHuggingFace() throws {
        let tokenizer = try Tokenizer(contentsOf: resource(contents.tokenizer))
        let golden = folder.appendingPathComponent("tokenizer_golden.jsonl")
        let lines = try String(contentsOf: golden, encoding: .utf8).split(separator: "\n")
        XCTAssertGreaterThan(lines.count, 2000)
        for line in lines.dropFirst() {
            let one = try JSONDecoder().decode(GoldenTokens.self, from: Data(line.utf8))
            let longest = one.max_length ?? contents.maxLength
            let found = try tokenizer.encode(one.text, pair: one.pair, maxLength: longest)
            XCTAssertEqual(found.ids, one.ids, one.text)
            XCTAssertEqual(found.typeIds, one.type_ids, one.text)
        }
    }

    func testVectorsAreThoseOfPython() throws {
        let data = try Data(contentsOf: folder.appendingPathComponent("golden.json"))
        let golden = try JSONDecoder().decode(GoldenVectors.self, from: data)
        let encoder = try NascEncoder()
        for one in golden.texts {
            XCTAssertEqual(try encoder.tokenize(one.text), one.input_ids, one.text)
            let vector = try encoder.embed(one.text)
            XCTAssertEqual(vector.count, one.vector.count)
            for (found, stated) in zip(vector, one.vector) {
                XCTAssertEqual(found, stated, accuracy: golden.tolerance, one.text)
            }
        }
        encoder.close()
        XCTAssertThrowsError(try encoder.embed("a")) {
            XCTAssertEqual($0 as? NascEncoderError, .closed)
        }
    }
}
