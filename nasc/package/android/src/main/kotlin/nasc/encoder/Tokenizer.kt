// SPDX-License-Identifier: Apache-2.0
// Texts into the tokens of Hugging Face's tokenizers, by the tables of tokenizer.bin. No Unicode of
// the platform's is asked: the same text gives the same tokens everywhere.

package nasc.encoder

/** Tokens of a text or of a pair, and which of both each is of. */
class Tokens(val ids: IntArray, val typeIds: IntArray)

/** A tokenizer. It never changes: any number of threads may call it at once. */
class Tokenizer
/**
 * @param data the bytes of tokenizer.bin
 * @throws TokenizerException if they are none
 */
constructor(data: ByteArray) {
    private val to = Tables(data)

    /** Tokens that a text is cut to; 0: to none. */
    val maxLength: Int get() = to.maxLength

    /**
     * The tokens of a text, or of a pair of texts, with the special tokens around them.
     *
     * @param maxLength tokens of the result, special ones counted; 0: the file's own
     * @throws TokenizerException if a text has lone surrogates, or cannot be cut so far
     */
    @JvmOverloads
    fun encode(text: String, pair: String? = null, maxLength: Int = 0): Tokens {
        val template = if (pair == null) to.single else to.paired
        val special = template.count { it.kind == Piece.TOKEN }
        val longest = if (maxLength > 0) maxLength else to.maxLength
        if (longest in 1 until special) throw noRoom()
        val room = if (longest > 0) longest - special else Int.MAX_VALUE
        val enough = if (pair == null && !to.cutLeft && longest > 0) room + 1 else Int.MAX_VALUE
        val texts = listOfNotNull(text, pair).map { tokensOf(bytesOf(it), enough) }
        val sizes = intArrayOf(texts[0].size, texts.getOrNull(1)?.size ?: 0)
        cut(pair != null, room, sizes)
        val ids = Ints()
        val types = Ints()
        for (piece in template) {
            if (piece.kind == Piece.TOKEN) {
                ids.add(piece.token)
                types.add(piece.type)
                continue
            }
            val which = if (piece.kind == Piece.PAIR) 1 else 0
            val from = if (to.cutLeft) texts[which].size - sizes[which] else 0
            for (i in from until from + sizes[which]) {
                ids.add(texts[which][i])
                types.add(piece.type)
            }
        }
        return Tokens(ids.taken(), types.taken())
    }

    private fun noRoom() = TokenizerException(
        TokenizerException.Code.NO_ROOM, "the maximum length leaves no room for the text",
    )

    /** The tokens of a text, without those around it; not many more than are enough. */
    private fun tokensOf(text: ByteArray, enough: Int): Ints {
        val ids = Ints()
        val put: PutToken = {
            ids.add(it)
            ids.size >= enough
        }
        withAdded(to.addedRaw, text, put) { raw ->
            withAdded(to.addedNormal, normalise(to, raw), put) { part ->
                splitWords(to, part, 0) { word -> putWord(to, word, put) }
            }
        }
        return ids
    }

    /**
     * Puts the added tokens of a text, and does `rest` with each part between them.
     *
     * @return whether no more is wanted
     */
    private fun withAdded(tree: Trie, text: ByteArray, put: PutToken, rest: PutWord): Boolean {
        fun kindAt(at: Int) = to.chars.of(pointAt(text, at))
        var done = 0 // of the text
        var at = 0
        while (at < text.size && tree.nodes > 1) {
            var start = at
            val (index, stop) = if (tree.begins(text.at(at))) addedAt(tree, text, at) else NOTHING
            if (index == NONE) {
                at++
                continue
            }
            at = stop
            var end = stop
            val flags = to.added[2 * index + 1]
            val beside = start > 0 && kindAt(pointBefore(text, start)) and Kind.WORD != 0 ||
                end < text.size && kindAt(end) and Kind.WORD != 0
            if (flags and SINGLE_WORD != 0 && beside) continue
            if (flags and LEFT != 0) {
                while (start > done && kindAt(pointBefore(text, start)) and Kind.SPACE != 0) {
                    start = pointBefore(text, start)
                }
                start = maxOf(start, done)
            }
            if (flags and RIGHT != 0) {
                while (end < text.size && kindAt(end) and Kind.SPACE != 0) {
                    end = pointEnd(text, end)
                }
            }
            if (done < start && rest(text.copyOfRange(done, start))) return true
            if (put(to.added[2 * index])) return true
            done = end
        }
        return done < text.size && rest(if (done == 0) text else text.copyOfRange(done, text.size))
    }

    /** The added token that begins at a place, the longest: its index and end. */
    private fun addedAt(tree: Trie, text: ByteArray, start: Int): Pair<Int, Int> {
        var node = 0
        var found = NOTHING
        for (at in start until text.size) {
            node = tree.child(node, text.at(at))
            if (node == 0) break
            if (tree.valueOf(node) != NONE) found = Pair(tree.valueOf(node), at + 1)
        }
        return found
    }

    /** Sets how much of two texts is kept, as tokenizers' truncate_encodings has it. */
    private fun cut(paired: Boolean, room: Int, sizes: IntArray) {
        val total = sizes[0] + sizes[1]
        if (total <= room) return
        if (room == 0) {
            sizes.fill(0)
        } else if (to.strategy == Cut.LONGEST_FIRST && !paired) {
            sizes[0] = room
        } else if (to.strategy == Cut.LONGEST_FIRST) {
            val shorter = if (sizes[0] > sizes[1]) 1 else 0
            var less = sizes[shorter]
            var more = if (less > room) less else maxOf(less, room - less)
            if (less + more > room) {
                less = room / 2
                more = less + room % 2
            }
            sizes[shorter] = less
            sizes[1 - shorter] = more
        } else {
            val which = if (to.strategy == Cut.ONLY_SECOND) 1 else 0
            if (which == 1 && !paired) {
                throw TokenizerException(
                    TokenizerException.Code.NO_PAIR,
                    "the second text is to be cut, and there is none",
                )
            }
            if (sizes[which] <= total - room) throw noRoom()
            sizes[which] -= total - room
        }
    }

    private companion object {
        const val SINGLE_WORD = 1
        const val LEFT = 2
        const val RIGHT = 4
        val NOTHING = Pair(NONE, 0)
    }
}
