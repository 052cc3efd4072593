// SPDX-License-Identifier: Apache-2.0
// Splits normalised text into words, as the pre-tokenizers do.

package nasc.encoder

/** Takes a word; true: no more is wanted. */
internal typealias PutWord = (ByteArray) -> Boolean

private const val SPACE = 0x20
private val ENDINGS =
    listOf("'s", "'t", "'re", "'ve", "'m", "'ll", "'d").map { it.encodeToByteArray() }

private object Metaspace {
    const val POINT = 0x1fffff
    const val PREPEND = 1 shl 24
    const val SPLIT = 1 shl 25
}

private object ByteLevel {
    const val PREFIX = 1
    const val PATTERN = 2
}

/**
 * Gives every word of a text to `put`.
 *
 * @param number of the splitter to begin with
 * @return whether no more is wanted
 */
internal fun splitWords(to: Tables, text: ByteArray, number: Int, put: PutWord): Boolean {
    if (text.isEmpty()) return false
    if (number >= to.splitters.size) return put(text)
    val step = to.splitters[number]
    val rest: PutWord = { splitWords(to, it, number + 1, put) }
    return when (step.kind) {
        Split.METASPACE -> atMarks(text, step.argument, rest)
        Split.BYTE_LEVEL -> byBytes(to, text, step.argument, rest)
        else -> atSpaces(to, text, step.kind == Split.BERT, rest)
    }
}

/** @param punctuation whether each is a word of its own */
private fun atSpaces(to: Tables, text: ByteArray, punctuation: Boolean, put: PutWord): Boolean {
    var start = 0
    var at = 0
    while (at < text.size) {
        val next = pointEnd(text, at)
        val kind = to.chars.of(pointAt(text, at))
        val isSpace = kind and Kind.SPACE != 0
        if (isSpace || punctuation && kind and Kind.PUNCTUATION != 0) {
            if (put(text.copyOfRange(start, at))) return true
            if (!isSpace && put(text.copyOfRange(at, next))) return true
            start = next
        }
        at = next
    }
    return put(text.copyOfRange(start, text.size))
}

private fun begins(text: ByteArray, at: Int, part: ByteArray): Boolean =
    text.size - at >= part.size && part.indices.all { text[at + it] == part[it] }

/** Spaces become a mark; words begin at marks. */
private fun atMarks(text: ByteArray, argument: Int, put: PutWord): Boolean {
    val mark = Bytes(4).apply { putPoint(argument and Metaspace.POINT) }.taken()
    val out = Bytes(text.size + 2 * mark.size)
    val bare = text.at(0) != SPACE && !begins(text, 0, mark)
    if (argument and Metaspace.PREPEND != 0 && bare) out.put(mark, 0, mark.size)
    for (byte in text) {
        if (byte.toInt() == SPACE) out.put(mark, 0, mark.size) else out.put(byte)
    }
    val marked = out.taken()
    var start = 0
    if (argument and Metaspace.SPLIT != 0) {
        for (at in 1 until marked.size) {
            if (marked[at] == mark[0] && begins(marked, at, mark)) {
                if (put(marked.copyOfRange(start, at))) return true
                start = at
            }
        }
    }
    return put(if (start == 0) marked else marked.copyOfRange(start, marked.size))
}

/** The end of the run of code points of a kind that begins at a place; of no kind for 0. */
private fun runEnd(to: Tables, text: ByteArray, start: Int, kind: Int): Int {
    val all = Kind.PATTERN_SPACE or Kind.LETTER or Kind.NUMBER
    var at = start
    while (at < text.size) {
        val found = to.chars.of(pointAt(text, at)) and all
        if (if (kind != 0) found and kind == 0 else found != 0) break
        at = pointEnd(text, at)
    }
    return at
}

/**
 * The end of what GPT-2's pattern matches at a place:
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 */
private fun matchEnd(to: Tables, text: ByteArray, at: Int): Int {
    if (text.at(at) == 0x27) {
        val ending = ENDINGS.find { begins(text, at, it) }
        if (ending != null) return at + ending.size
    }
    val from = if (text.at(at) == SPACE && at + 1 < text.size) at + 1 else at
    for (kind in intArrayOf(Kind.LETTER, Kind.NUMBER, 0)) {
        val end = runEnd(to, text, from, kind)
        if (end > from) return end
    }
    val end = runEnd(to, text, at, Kind.PATTERN_SPACE)
    if (end == at) {
        return pointEnd(text, at) // not for tables that ask Unicode: every character is of some kind
    }
    val last = pointBefore(text, end)
    return if (end < text.size && last > at) last else end
}

private fun byBytes(to: Tables, given: ByteArray, argument: Int, put: PutWord): Boolean {
    val prefixed = argument and ByteLevel.PREFIX != 0 && given.at(0) != SPACE
    val text = if (prefixed) byteArrayOf(SPACE.toByte()) + given else given
    if (argument and ByteLevel.PATTERN == 0) return put(text)
    var at = 0
    while (at < text.size) {
        val end = matchEnd(to, text, at)
        if (put(text.copyOfRange(at, end))) return true
        at = end
    }
    return false
}
