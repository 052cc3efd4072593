// SPDX-License-Identifier: Apache-2.0
// What normalisers do to a text, by tables that were asked of Hugging Face's tokenizers.

package nasc.encoder

/** Grapheme_Cluster_Break of Unicode's annex 29 in the low bits, and more properties. */
private object Break {
    const val CR = 1
    const val LF = 2
    const val CONTROL = 3
    const val EXTEND = 4
    const val ZWJ = 5
    const val REGIONAL = 6
    const val PREPEND = 7
    const val SPACING = 8
    const val L = 9
    const val V = 10
    const val T = 11
    const val LV = 12
    const val LVT = 13
    const val MASK = 15
    const val PICTOGRAPH = 16
    const val CONSONANT = 32
    const val LINKER = 64
    const val CONJOINING = 128

    fun isControl(kind: Int) = kind == CR || kind == LF || kind == CONTROL
}

private const val MARK_CLASSES = 256

/** A text as all normalisers leave it. */
internal fun normalise(to: Tables, text: ByteArray): ByteArray =
    to.normalisers.fold(text) { found, step ->
        when (step.kind) {
            Normalise.MAP -> to.maps[step.argument]!!.of(found)
            Normalise.REORDER -> reorder(to, found)
            Normalise.COMPOSE -> compose(to, found)
            Normalise.PRECOMPILED -> precompiled(to, found)
            Normalise.STRIP -> strip(to, found, step.argument)
            else -> joinSpaces(found)
        }
    }

/** Marks that follow each other into the order of their classes, those of one class as they were. */
private fun reorder(to: Tables, text: ByteArray): ByteArray {
    var changed: ByteArray? = null
    var at = 0
    while (at < text.size) {
        if (text[at] >= 0) {
            at++
            continue
        }
        val start = at
        val ends = Ints()
        val kinds = Ints()
        var sorted = true
        while (at < text.size) {
            val kind = to.classes.of(pointAt(text, at))
            if (kind == 0) break
            sorted = sorted && (kinds.size == 0 || kind >= kinds[kinds.size - 1])
            at = pointEnd(text, at)
            kinds.add(kind)
            ends.add(at)
        }
        if (!sorted) {
            val target = changed ?: text.copyOf().also { changed = it }
            placeByClass(text, start, kinds, ends, target)
        }
        if (at < text.size) at = pointEnd(text, at)
    }
    return changed ?: text
}

/** Counting sort, so that a heap of marks takes no longer than its size. */
private fun placeByClass(
    text: ByteArray, start: Int, kinds: Ints, ends: Ints, target: ByteArray,
) {
    val places = IntArray(MARK_CLASSES + 1)
    fun begin(i: Int) = if (i == 0) start else ends[i - 1]
    for (i in 0 until kinds.size) places[kinds[i] + 1] += ends[i] - begin(i)
    places[0] = start
    for (kind in 1..MARK_CLASSES) places[kind] += places[kind - 1]
    for (i in 0 until kinds.size) {
        text.copyInto(target, places[kinds[i]], begin(i), ends[i])
        places[kinds[i]] += ends[i] - begin(i)
    }
}

/** The composition of two code points by Unicode's chapter 3.11 and 3.12 (Hangul); 0: none. */
private fun composed(to: Tables, first: Int, second: Int): Int {
    if (first in 0x1100..0x1112 && second in 0x1161..0x1175) {
        return 0xac00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28
    }
    val syllable = first - 0xac00
    if (syllable in 0 until 11172 && syllable % 28 == 0 && second in 0x11a8..0x11c2) {
        return first + (second - 0x11a7)
    }
    return to.compositions[pairOf(first, second)] ?: 0
}

/** Composes a text in canonical order. */
private fun compose(to: Tables, text: ByteArray): ByteArray {
    val out = Bytes(text.size)
    var starter = -1 // held back until nothing more can join it
    var last = 0 // class of the mark before that did not join; 0: there is none
    var behind = Ints() // marks and others that did not join
    fun release() {
        if (starter >= 0) out.putPoint(starter)
        for (i in 0 until behind.size) out.putPoint(behind[i])
        if (behind.size > 0) behind = Ints()
    }
    var at = 0
    while (at < text.size) {
        val point = pointAt(text, at)
        val kind = to.classes.of(point)
        val free = starter >= 0 && (if (last == 0) behind.size == 0 else last < kind)
        val joined = if (free) composed(to, starter, point) else 0
        if (joined != 0) {
            starter = joined
        } else if (kind == 0) {
            release()
            starter = point
            last = 0
        } else {
            last = kind
            behind.add(point)
        }
        at = pointEnd(text, at)
    }
    release()
    return out.taken()
}

/** The end of the grapheme cluster at a place: extended ones of annex 29, GB3 to GB13. */
private fun clusterEnd(to: Tables, text: ByteArray, start: Int): Int {
    var left = to.breaks.of(pointAt(text, start))
    var at = pointEnd(text, start)
    var pictograph = left and Break.PICTOGRAPH != 0
    var consonant = left and Break.CONSONANT != 0
    var linked = false
    var regional = if (left and Break.MASK == Break.REGIONAL) 1 else 0
    while (at < text.size) {
        val right = to.breaks.of(pointAt(text, at))
        val a = left and Break.MASK
        val b = right and Break.MASK
        if (Break.isControl(a) || Break.isControl(b)) {
            return if (a == Break.CR && b == Break.LF) pointEnd(text, at) else at
        }
        val joined = b == Break.EXTEND || b == Break.ZWJ || b == Break.SPACING ||
            a == Break.PREPEND || hangul(a, b) ||
            consonant && linked && right and Break.CONSONANT != 0 ||
            pictograph && a == Break.ZWJ && right and Break.PICTOGRAPH != 0 ||
            a == Break.REGIONAL && b == Break.REGIONAL && regional % 2 == 1
        if (!joined) return at
        if (right and Break.PICTOGRAPH != 0) {
            pictograph = true
        } else if (a == Break.ZWJ || b != Break.EXTEND && b != Break.ZWJ) {
            pictograph = false
        }
        if (right and Break.CONSONANT != 0) {
            consonant = true
            linked = false
        } else if (right and Break.LINKER != 0) {
            linked = true
        } else if (right and Break.CONJOINING == 0) {
            consonant = false
        }
        regional = if (b == Break.REGIONAL) regional + 1 else 0
        left = right
        at = pointEnd(text, at)
    }
    return at
}

private fun hangul(a: Int, b: Int): Boolean = when (a) {
    Break.L -> b == Break.L || b == Break.V || b == Break.LV || b == Break.LVT
    Break.LV, Break.V -> b == Break.V || b == Break.T
    Break.LVT, Break.T -> b == Break.T
    else -> false
}

/**
 * Where SentencePiece's table keeps what becomes of a text, by its shortest entry that the text
 * begins with, as tokenizers looks it up; NONE: it has none.
 */
private fun charsmapEntry(to: Tables, text: ByteArray, start: Int, end: Int): Int {
    var node = 0
    for (at in start until end) {
        node = to.charsmap.child(node, text.at(at))
        if (node == 0) return NONE
        val found = to.charsmap.valueOf(node)
        if (found != NONE) return found
    }
    return NONE
}

/** Clusters of less than six bytes are looked up whole, all else by code points. */
private fun precompiled(to: Tables, text: ByteArray): ByteArray {
    val out = Bytes(text.size)
    val pool = to.charsmapPool
    fun plain(i: Int) = i >= text.size || text[i] >= 0
    fun put(start: Int, end: Int): Boolean {
        val entry = charsmapEntry(to, text, start, end)
        if (entry != NONE) out.put(pool, entry + 1, entry + 1 + pool.at(entry))
        return entry != NONE
    }
    var at = 0
    while (at < text.size) {
        val alone = plain(at) && text.at(at) != 0x0d && plain(at + 1)
        val end = if (alone) at + 1 else clusterEnd(to, text, at)
        if (end - at < 6 && put(at, end)) {
            at = end
            continue
        }
        while (at < end) {
            val next = pointEnd(text, at)
            if (!put(at, next)) out.put(text, at, next)
            at = next
        }
    }
    return out.taken()
}

/** Without spaces at its ends; sides: 1 left, 2 right, 3 both. */
private fun strip(to: Tables, text: ByteArray, sides: Int): ByteArray {
    fun isSpace(at: Int) = to.chars.of(pointAt(text, at)) and Kind.SPACE != 0
    var start = 0
    var end = text.size
    while (sides and 1 != 0 && start < end && isSpace(start)) start = pointEnd(text, start)
    while (sides and 2 != 0 && end > start && isSpace(pointBefore(text, end))) {
        end = pointBefore(text, end)
    }
    return text.copyOfRange(start, end)
}
