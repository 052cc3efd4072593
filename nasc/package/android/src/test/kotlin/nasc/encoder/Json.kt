// SPDX-License-Identifier: Apache-2.0
// The JSON of the golden files, so that tests need no library for it.

package nasc.encoder

/** Maps, lists, texts, numbers as Double, true, false and null; an error for what is no JSON. */
internal fun readJson(text: String): Any? {
    val reader = JsonReader(text)
    return reader.value().also { reader.end() }
}

private class JsonReader(private val text: String) {
    private var at = 0

    fun value(): Any? = when (next()) {
        '{' -> values('}') {
            val name = string()
            expect(':')
            name to value()
        }.toMap()
        '[' -> values(']') { value() }
        '"' -> string()
        't' -> word("true", true)
        'f' -> word("false", false)
        'n' -> word("null", null)
        else -> number()
    }

    fun end() {
        while (at < text.length && text[at].isWhitespace()) at++
        require(at == text.length) { "more than one value, at $at" }
    }

    private fun next(): Char {
        while (text[at].isWhitespace()) at++
        return text[at]
    }

    private fun expect(char: Char) {
        require(next() == char) { "no $char at $at" }
        at++
    }

    private fun <T> values(close: Char, value: () -> T): List<T> {
        val found = ArrayList<T>()
        at++
        while (next() != close) {
            if (found.isNotEmpty()) expect(',')
            next()
            found.add(value())
        }
        at++
        return found
    }

    private fun <T> word(word: String, value: T): T {
        require(text.startsWith(word, at)) { "no value at $at" }
        at += word.length
        return value
    }

    private fun number(): Double {
        val start = at
        while (at < text.length && text[at] in "+-.0123456789eE") at++
        return text.substring(start, at).toDouble()
    }

    private fun string(): String {
        expect('"')
        val found = StringBuilder()
        while (text[at] != '"') {
            val char = text[at++]
            found.append(if (char == '\\') escaped() else char)
        }
        at++
        return found.toString()
    }

    private fun escaped(): Char = when (val char = text[at++]) {
        'b' -> '\b'
        'f' -> '\u000c'
        'n' -> '\n'
        'r' -> '\r'
        't' -> '\t'
        'u' -> text.substring(at, at + 4).toInt(16).toChar().also { at += 4 }
        else -> char
    }
}
