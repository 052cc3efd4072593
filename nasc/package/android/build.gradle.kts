// SPDX-License-Identifier: Apache-2.0
// A text encoder as a module of an Android app: copy the folder beside the app's module, and write
// include(":nasc-encoder") into settings.gradle.kts.

plugins {
    id("com.android.library") // 9 or newer, which compiles Kotlin by itself
}

android {
    namespace = "nasc.encoder"
    compileSdk = 36
    defaultConfig {
        minSdk = 24 // onnxruntime-android's
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

dependencies {
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.29.0")
    testImplementation("com.microsoft.onnxruntime:onnxruntime:1.29.0")
    testImplementation("junit:junit:4.13.2")
}
