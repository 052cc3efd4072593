// SPDX-License-Identifier: Apache-2.0
// The parts of tokenizer.bin, each checked when it is read, so that it is used without checks.

package nasc.encoder

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** No entry: all bits of an unsigned number of 32. */
internal const val NONE = -1

private const val PAGE = 128
private const val PAGES = 0x110000 / PAGE

internal fun check(holds: Boolean, what: String) {
    if (!holds) {
        throw TokenizerException(
            TokenizerException.Code.DAMAGED, "tokenizer.bin is damaged: $what",
        )
    }
}

/** A part of the file. */
internal class Part(val data: ByteArray, val start: Int, val end: Int) {
    val size get() = end - start

    private fun view(at: Int, bytes: Long): ByteBuffer {
        check(at.toLong() + bytes <= size, "it ends too soon")
        return ByteBuffer.wrap(data, start + at, bytes.toInt()).slice()
            .order(ByteOrder.LITTLE_ENDIAN)
    }

    /** Words of 32 bits. */
    fun words(at: Int, count: Int) =
        IntArray(count).also { view(at, 4L * count).asIntBuffer().get(it) }

    /** All of it as words. */
    fun words() = words(0, size / 4)

    /** Words of 16 bits, from 0. */
    fun shorts(at: Int, count: Int): IntArray {
        val found = ShortArray(count).also { view(at, 2L * count).asShortBuffer().get(it) }
        return IntArray(count) { found[it].toInt() and 0xffff }
    }

    fun doubles() =
        DoubleArray(size / 8).also { view(0, 8L * it.size).asDoubleBuffer().get(it) }

    fun double(at: Int) = view(at, 8).getDouble(0)

    fun bytes(at: Int): ByteArray = data.copyOfRange(start + at, end)
}

private fun index(part: Part, at: Int, count: Int): IntArray {
    val index = part.shorts(at, PAGES)
    check(index.all { it < count }, "an index points out of its table")
    return index
}

/** A byte for every code point. */
internal class Pages(part: Part) {
    val present = part.size > 0
    private val index: IntArray
    private val values: ByteArray

    init {
        if (present) {
            val head = 4 + 2 * PAGES
            check(part.size >= head, "a table is too short")
            val count = part.words(0, 1)[0]
            check(count in 0..PAGES && part.size == head + count * PAGE, "a table has another size")
            index = index(part, 4, count)
            values = part.bytes(head)
        } else {
            index = IntArray(PAGES)
            values = ByteArray(PAGE)
        }
    }

    fun of(point: Int): Int = values.at(index[point ushr 7] * PAGE + (point and 127))
}

/** A text for every code point: that itself where the entry is 0. */
internal class TextMap(part: Part) {
    private val index: IntArray
    private val entries: IntArray
    private val pool: ByteArray

    init {
        val head = 8 + 2 * PAGES
        check(part.size >= head, "a map is too short")
        val (count, bytes) = part.words(0, 2)
        check(
            count in 0..PAGES && bytes >= 0 &&
                part.size.toLong() == head + 4L * count * PAGE + bytes,
            "a map has another size",
        )
        index = index(part, 8, count)
        entries = part.words(head, count * PAGE)
        pool = part.bytes(head + 4 * entries.size)
        for (entry in entries.toSet()) {
            if (entry == 0) continue
            check(entry < 0 && endOf(entry) <= pool.size, "a map points out of itself")
            check(isText(pool, startOf(entry), endOf(entry)), "a map holds what is no text")
        }
    }

    private fun startOf(entry: Int) = entry and 0x7fffffff ushr 6

    private fun endOf(entry: Int) = startOf(entry) + (entry and 63)

    /** A text with what its code points become. */
    fun of(text: ByteArray): ByteArray {
        val out = Bytes(text.size)
        var at = 0
        while (at < text.size) {
            val end = pointEnd(text, at)
            val point = pointAt(text, at)
            val entry = entries[index[point ushr 7] * PAGE + (point and 127)]
            if (entry == 0) {
                out.put(text, at, end)
            } else {
                out.put(pool, startOf(entry), endOf(entry))
            }
            at = end
        }
        return out.taken()
    }
}

/** A tree of bytes; its nodes stand by depth, so that every way down ends. */
internal class Trie(part: Part) {
    val nodes: Int
    private val first: IntArray
    private val value: IntArray
    private val label: ByteArray
    private val roots = IntArray(256)

    init {
        if (part.size == 0) {
            nodes = 0
            first = IntArray(0)
            value = IntArray(0)
            label = ByteArray(0)
        } else {
            check(part.size >= 4, "a tree is too short")
            nodes = part.words(0, 1)[0]
            check(nodes > 0 && part.size.toLong() == 8 + 9L * nodes, "a tree has another size")
            first = part.words(4, nodes + 1)
            value = part.words(8 + 4 * nodes, nodes)
            label = part.bytes(8 + 8 * nodes)
            checkNodes()
            for (child in 1 until first[1]) roots[label.at(child)] = child
        }
    }

    private fun checkNodes() {
        var before = 1
        for (i in 0..nodes) {
            val next = first[i]
            check(next in before..nodes && (i == nodes || next > i), "a tree is none")
            for (child in before + 1 until next) {
                check(label.at(child) > label.at(child - 1), "a tree is out of order")
            }
            before = next
        }
        check(first[0] == 1 && first[nodes] == nodes, "a tree has no root")
    }

    /** What a node holds, or NONE. */
    fun valueOf(node: Int): Int = value[node]

    /** Whether an entry begins with a byte. */
    fun begins(byte: Int): Boolean = roots[byte] != 0

    /** The node below a node by a byte; 0 if there is none. */
    fun child(node: Int, byte: Int): Int {
        if (node == 0) return roots[byte]
        var low = first[node]
        var high = first[node + 1]
        while (high - low > 8) {
            val middle = low + high ushr 1
            if (label.at(middle) <= byte) low = middle else high = middle
        }
        while (low < high) {
            if (label.at(low) == byte) return low
            low++
        }
        return 0
    }

    fun checkValues(limit: Int) =
        check(value.all { it == NONE || it in 0 until limit }, "a tree points out of its table")

    /** All values but NONE. */
    fun values(): List<Int> = value.filter { it != NONE }
}
