// SPDX-License-Identifier: Apache-2.0
// The three models: words into tokens.

package nasc.encoder

/** Takes a token; true: no more is wanted. */
internal typealias PutToken = (Int) -> Boolean

private const val MAX_PIECES = 1000

/**
 * Gives the tokens of a word that is not empty to `put`.
 *
 * @return whether no more is wanted
 */
internal fun putWord(to: Tables, word: ByteArray, put: PutToken): Boolean = when (to.model) {
    Model.WORDPIECE -> wordPieces(to, word, put)
    Model.UNIGRAM -> bestPieces(to, word, put)
    else -> mergedBytes(to, word, put)
}

/**
 * The longest piece first, then the longest that may follow; one unknown token for a word that
 * cannot be had so, or is too long.
 */
private fun wordPieces(to: Tables, word: ByteArray, put: PutToken): Boolean {
    val words = to.vocabulary
    if (word.count { it.toInt() and 0xc0 != 0x80 } > to.maxWord) return put(to.unknown)
    val found = Ints()
    var at = 0
    while (at < word.size) {
        var token = NONE
        if (found.size < MAX_PIECES && (at == 0 || to.inner != NONE)) {
            var node = if (at == 0) 0 else to.inner
            for (i in at until word.size) {
                node = words.child(node, word.at(i))
                if (node == 0) break
                if (words.valueOf(node) != NONE) {
                    token = words.valueOf(node)
                    at = i + 1
                }
            }
        }
        if (token == NONE) return put(to.unknown)
        found.add(token)
    }
    return (0 until found.size).any { put(found[it]) }
}

/** The token of a run of unknown pieces, which may have an entry of its own. */
private fun tokenOfRun(to: Tables, word: ByteArray, start: Int, end: Int): Int {
    var node = 0
    for (i in start until end) {
        node = to.vocabulary.child(node, word.at(i))
        if (node == 0) return to.unknown
    }
    val token = to.vocabulary.valueOf(node)
    return if (token == NONE) to.unknown else token
}

/** The way of the highest sum of scores (Viterbi), unknown characters that follow each other as one. */
private fun bestPieces(to: Tables, word: ByteArray, put: PutToken): Boolean {
    val words = to.vocabulary
    val best = DoubleArray(word.size + 1)
    val starts = IntArray(word.size + 1) { NONE } // of the last piece on the way
    val tokens = IntArray(word.size + 1) { to.unknown }
    fun offer(end: Int, score: Double, start: Int, token: Int) {
        if (starts[end] == NONE || score > best[end]) {
            best[end] = score
            starts[end] = start
            tokens[end] = token
        }
    }
    var at = 0
    while (at < word.size) {
        val single = minOf(pointEnd(word, at), word.size)
        val here = best[at]
        var hasSingle = false
        var node = 0
        for (i in at until word.size) {
            node = words.child(node, word.at(i))
            if (node == 0) break
            val token = words.valueOf(node)
            if (token != NONE) {
                offer(i + 1, to.scores[token] + here, at, token)
                hasSingle = hasSingle || i + 1 == single
            }
        }
        if (!hasSingle) offer(single, to.unknownScore + here, at, to.unknown)
        at = single
    }
    val backwards = Ints()
    var end = word.size
    while (end > 0) {
        check(starts[end] in 0 until end, "it breaks characters apart")
        backwards.add(end)
        end = starts[end]
    }
    var start = 0
    var i = backwards.size - 1
    while (i >= 0) {
        var token = tokens[backwards[i]]
        if (token == to.unknown) {
            while (i > 0 && tokens[backwards[i - 1]] == to.unknown) i--
            token = tokenOfRun(to, word, start, backwards[i])
        }
        if (put(token)) return true
        start = backwards[i--]
    }
    return false
}

/** The symbols of a word while pairs of them are merged, the lowest rank first, then the leftmost. */
private class Merging(private val merges: IntArray, size: Int) {
    var count = 0 // of symbols
        private set
    private var waiting = 0 // of them, in the heap
    private val token = IntArray(size)
    private val previous = IntArray(size)
    private val next = IntArray(size)
    private val rank = IntArray(size) { NONE } // of the merge with the next one
    private val merged = IntArray(size) // what that gives
    private val place = IntArray(size) // in the heap
    private val heap = IntArray(size)

    fun add(symbol: Int) {
        val i = count++
        token[i] = symbol
        previous[i] = i - 1 // NONE of the first
        next[i] = i + 1
    }

    fun run() {
        if (count == 0) return
        next[count - 1] = NONE
        for (i in 0 until count) rate(i)
        while (waiting > 0) {
            val left = heap[0]
            val right = next[left]
            token[left] = merged[left]
            next[left] = next[right]
            if (rank[right] != NONE) leave(right)
            if (next[left] != NONE) previous[next[left]] = left
            rate(left)
            if (previous[left] != NONE) rate(previous[left])
        }
    }

    fun give(put: PutToken): Boolean {
        var i = if (count > 0) 0 else NONE
        while (i != NONE) {
            if (put(token[i])) return true
            i = next[i]
        }
        return false
    }

    /** Sets what a symbol and its next one merge to, and its place in the heap. */
    private fun rate(i: Int) {
        var found = NONE
        if (next[i] != NONE) {
            val left = token[i]
            val right = token[next[i]]
            val mask = merges.size / 4 - 1
            var slot = (left * 0x9e3779b1.toInt() xor right * 0x85ebca6b.toInt()) ushr 7 and mask
            while (true) {
                found = merges[4 * slot + 2]
                if (found == NONE || merges[4 * slot] == left && merges[4 * slot + 1] == right) {
                    merged[i] = merges[4 * slot + 3]
                    break
                }
                slot = slot + 1 and mask
            }
        }
        val was = rank[i] != NONE
        rank[i] = found
        if (found == NONE) {
            if (was) leave(i)
            return
        }
        if (!was) put(waiting++, i)
        settle(place[i])
    }

    private fun before(a: Int, b: Int) =
        if (rank[a] != rank[b]) rank[a].toUInt() < rank[b].toUInt() else a < b

    private fun put(at: Int, i: Int) {
        heap[at] = i
        place[i] = at
    }

    /** Moves what stands at a place of the heap to where it belongs. */
    private fun settle(from: Int) {
        var at = from
        val i = heap[at]
        while (at > 0 && before(i, heap[(at - 1) / 2])) {
            put(at, heap[(at - 1) / 2])
            at = (at - 1) / 2
        }
        while (2 * at + 1 < waiting) {
            var child = 2 * at + 1
            if (child + 1 < waiting && before(heap[child + 1], heap[child])) child++
            if (!before(heap[child], i)) break
            put(at, heap[child])
            at = child
        }
        put(at, i)
    }

    private fun leave(i: Int) {
        val at = place[i]
        val last = heap[--waiting]
        if (last != i) {
            put(at, last)
            settle(at)
        }
    }
}

/** The tokens of the bytes, then the merge of the lowest rank as long as there is one. */
private fun mergedBytes(to: Tables, word: ByteArray, put: PutToken): Boolean {
    val merging = Merging(to.merges, word.size)
    var wasUnknown = false
    for (byte in word) {
        val known = to.alphabet[byte.toInt() and 0xff]
        val isUnknown = known == NONE
        val token = if (isUnknown) to.unknown else known
        if (token == NONE || isUnknown && wasUnknown && to.fuseUnknown) {
            continue // left out, or one with the unknown byte before
        }
        wasUnknown = isUnknown
        merging.add(token)
    }
    merging.run()
    return merging.give(put)
}
