// SPDX-License-Identifier: Apache-2.0
// Texts into the tokens of Hugging Face's tokenizers, by the port in C of the target NascTokenizer.

import Foundation
import NascTokenizer

/// What is wrong with the tokenizer's file, or why a text cannot be cut as asked.
public struct TokenizerError: Error, CustomStringConvertible {
    /// In a few English words.
    public let description: String

    init(code: Int64) {
        description = String(cString: nasc_tokenizer_problem(code))
    }

    init(_ description: String) {
        self.description = description
    }
}

/// A tokenizer. It never changes: any number of threads may call it at once.
final class Tokenizer: @unchecked Sendable {
    private let data: NSData // read in place
    private let opened: UnsafeMutablePointer<nasc_tokenizer>

    /// Opens tokenizer.bin, which is mapped.
    init(contentsOf url: URL) throws {
        data = try NSData(contentsOf: url, options: .mappedIfSafe)
        opened = UnsafeMutablePointer<nasc_tokenizer>.allocate(capacity: 1)
        let code = nasc_tokenizer_open(opened, data.bytes, data.length)
        if code != 0 {
            throw TokenizerError(code: Int64(code))
        }
    }

    deinit {
        opened.deallocate()
    }

    /// The tokens of a text, or of a pair, with the special tokens around them, and which of both
    /// texts each is of.
    ///
    /// - Parameter maxLength: Tokens of the result, special ones counted.
    func encode(
        _ text: String, pair: String? = nil, maxLength: Int
    ) throws -> (ids: [Int64], typeIds: [Int64]) {
        let first = Tokenizer.bytes(of: text)
        let second = pair.map { Tokenizer.bytes(of: $0) }
        let firstCount = first.count - 1
        let secondCount = (second?.count ?? 1) - 1
        let needed = nasc_tokenizer_scratch(opened, firstCount, secondCount)
        guard needed >= 0, let scratch = malloc(max(needed, 1)) else {
            throw TokenizerError("the text is too long for the memory that there is")
        }
        defer { free(scratch) }
        var ids = [Int64](repeating: 0, count: maxLength)
        var types = [Int64](repeating: 0, count: maxLength)
        let count: Int64
        if let second {
            count = nasc_tokenizer_encode(
                opened, first, firstCount, second, secondCount, maxLength, &ids, &types,
                maxLength, scratch, needed
            )
        } else {
            count = nasc_tokenizer_encode(
                opened, first, firstCount, nil, 0, maxLength, &ids, &types, maxLength, scratch,
                needed
            )
        }
        if count < 0 {
            throw TokenizerError(code: count)
        }
        return (Array(ids.prefix(Int(count))), Array(types.prefix(Int(count))))
    }

    /// UTF-8 with a NUL behind it, so that there is always something to point to.
    private static func bytes(of text: String) -> [CChar] {
        var bytes = text.utf8.map { CChar(bitPattern: $0) }
        bytes.append(0)
        return bytes
    }
}
