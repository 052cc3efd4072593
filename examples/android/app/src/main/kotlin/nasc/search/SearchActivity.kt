// SPDX-License-Identifier: Apache-2.0
// A line to type into, and what is nearest to it. All that computes is on one thread of its own.

package nasc.search

import android.app.Activity
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicInteger
import nasc.encoder.NascEncoder

private const val SENTENCES = "sentences.txt"
private const val SHOWN = 8

class SearchActivity : Activity() {
    private val computing: ExecutorService = Executors.newSingleThreadExecutor()
    private val latest = AtomicInteger()
    private lateinit var answers: TextView
    private var encoder: NascEncoder? = null // of the thread that computes, and so is this:
    private var index: SentenceIndex? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val query = EditText(this)
        query.hint = "someone makes music"
        query.isEnabled = false
        answers = TextView(this)
        val column = LinearLayout(this)
        column.orientation = LinearLayout.VERTICAL
        column.addView(query)
        column.addView(answers)
        val page = ScrollView(this)
        page.fitsSystemWindows = true
        page.addView(column)
        setContentView(page)
        query.addTextChangedListener(object : TextWatcher {
            override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit
            override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit
            override fun afterTextChanged(text: Editable?) = search(text.toString())
        })
        computing.execute {
            try {
                load()
                runOnUiThread { query.isEnabled = true }
            } catch (error: Exception) {
                show("It cannot be loaded: ${error.message}")
            }
        }
    }

    override fun onDestroy() {
        latest.incrementAndGet() // what still waits shows nothing
        computing.execute { encoder?.close() }
        computing.shutdown()
        super.onDestroy()
    }

    private fun load() {
        val sentences = assets.open(SENTENCES).bufferedReader().use { it.readLines() }
        val loaded = NascEncoder.create(applicationContext)
        encoder = loaded
        val started = System.nanoTime()
        index = SentenceIndex(loaded, sentences) { done ->
            if (done % 20 == 0) show("$done of ${sentences.size} sentences")
        }
        val ms = (System.nanoTime() - started) / 1_000_000
        show("${sentences.size} sentences in $ms ms. What is meant by them?")
    }

    /** Shows what is nearest; a later query stops an earlier one from being looked for. */
    private fun search(query: String) {
        val own = latest.incrementAndGet()
        computing.execute {
            val ready = index
            if (ready == null || own != latest.get() || query.isBlank()) return@execute
            val started = System.nanoTime()
            val found = ready.nearest(query, SHOWN)
            val ms = (System.nanoTime() - started) / 1_000_000
            val lines = found.map { "%.2f  %s".format(it.similarity, it.sentence) }
            if (own == latest.get()) show((lines + "$ms ms").joinToString("\n\n"))
        }
    }

    private fun show(text: String) = runOnUiThread { answers.text = text }
}
