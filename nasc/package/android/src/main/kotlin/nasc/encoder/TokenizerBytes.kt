// SPDX-License-Identifier: Apache-2.0
// Texts as bytes: well-formed UTF-8, read and written by code points.

package nasc.encoder

/** What is wrong with a tokenizer's file, or with a text. */
class TokenizerException(val code: Code, message: String) : RuntimeException(message) {
    /** What kind of wrong it is. */
    enum class Code { DAMAGED, VERSION, NOT_TEXT, TOO_LONG, NO_ROOM, NO_PAIR }
}

internal const val MAX_BYTES = 1 shl 28

private const val SPACE = 0x20.toByte()

internal fun ByteArray.at(i: Int): Int = this[i].toInt() and 0xff

/** The code point that begins at a place. */
internal fun pointAt(text: ByteArray, at: Int): Int {
    val lead = text.at(at)
    if (lead < 0x80) return lead
    val second = text.at(at + 1) and 0x3f
    if (lead < 0xe0) return (lead and 0x1f shl 6) or second
    val third = text.at(at + 2) and 0x3f
    if (lead < 0xf0) return (lead and 0x0f shl 12) or (second shl 6) or third
    return (lead and 0x07 shl 18) or (second shl 12) or (third shl 6) or (text.at(at + 3) and 0x3f)
}

/** Where the code point that begins at a place ends. */
internal fun pointEnd(text: ByteArray, at: Int): Int {
    val lead = text.at(at)
    return at + if (lead < 0xc0) 1 else if (lead < 0xe0) 2 else if (lead < 0xf0) 3 else 4
}

/** Where the code point before a place above 0 begins. */
internal fun pointBefore(text: ByteArray, at: Int): Int {
    var start = at - 1
    while (start > 0 && text.at(start) and 0xc0 == 0x80) start--
    return start
}

/** Whether a part of bytes is well-formed UTF-8. */
internal fun isText(data: ByteArray, start: Int, end: Int): Boolean {
    var at = start
    while (at < end) {
        val lead = data.at(at)
        val more = when (lead) {
            in 0..0x7f -> 0
            in 0xc2..0xdf -> 1
            in 0xe0..0xef -> 2
            in 0xf0..0xf4 -> 3
            else -> return false
        }
        if (end - at <= more || (1..more).any { data.at(at + it) and 0xc0 != 0x80 }) return false
        val point = pointAt(data, at)
        if (more == 2 && (point < 0x800 || point in 0xd800..0xdfff)) return false
        if (more == 3 && point !in 0x10000..0x10ffff) return false
        at += more + 1
    }
    return true
}

/**
 * The bytes of a text.
 *
 * @throws TokenizerException if it has a lone surrogate, or is too long
 */
internal fun bytesOf(text: String): ByteArray {
    if (text.length > MAX_BYTES) {
        throw TokenizerException(
            TokenizerException.Code.TOO_LONG, "a text has at most $MAX_BYTES bytes",
        )
    }
    val out = Bytes(text.length)
    var i = 0
    while (i < text.length) {
        val char = text[i++]
        val next = if (i < text.length) text[i] else ' '
        if (char.isHighSurrogate() && next.isLowSurrogate()) {
            i++
            out.putPoint(0x10000 + (char.code - 0xd800 shl 10) + (next.code - 0xdc00))
        } else if (char.isSurrogate()) {
            throw TokenizerException(
                TokenizerException.Code.NOT_TEXT,
                "the text has a lone surrogate, which is no character",
            )
        } else {
            out.putPoint(char.code)
        }
    }
    return out.taken()
}

/** Bytes that grow. */
internal class Bytes(capacity: Int) {
    private var data = ByteArray(capacity + 16)
    private var size = 0

    private fun room(more: Int) {
        if (size + more > data.size) data = data.copyOf(2 * (size + more))
    }

    fun put(from: ByteArray, start: Int, end: Int) {
        room(end - start)
        from.copyInto(data, size, start, end)
        size += end - start
    }

    fun put(byte: Byte) {
        room(1)
        data[size++] = byte
    }

    fun putPoint(point: Int) {
        room(4)
        if (point < 0x80) {
            data[size++] = point.toByte()
            return
        }
        val more = if (point < 0x800) 1 else if (point < 0x10000) 2 else 3
        val lead = if (more == 1) 0xc0 else if (more == 2) 0xe0 else 0xf0
        data[size++] = (lead or (point ushr 6 * more)).toByte()
        for (i in more - 1 downTo 0) {
            data[size++] = (0x80 or (point ushr 6 * i and 0x3f)).toByte()
        }
    }

    fun taken(): ByteArray = data.copyOf(size)
}

/** Whole numbers that grow. */
internal class Ints {
    private var data = IntArray(64)
    var size = 0
        private set

    fun add(value: Int) {
        if (size == data.size) data = data.copyOf(2 * size)
        data[size++] = value
    }

    operator fun get(i: Int): Int = data[i]

    fun taken(): IntArray = data.copyOf(size)
}

/** The bytes of spaces that follow each other as one. */
internal fun joinSpaces(text: ByteArray): ByteArray {
    val out = Bytes(text.size)
    text.forEachIndexed { i, byte -> if (byte != SPACE || i == 0 || text[i - 1] != SPACE) out.put(byte) }
    return out.taken()
}
