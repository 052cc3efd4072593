// SPDX-License-Identifier: Apache-2.0
// A text encoder in C as a module of an Android app, without a runtime to download: copy the folder
// beside the app's module, and write include(":nasc-encoder") into settings.gradle.kts.

plugins {
    id("com.android.library") // 9 or newer, which compiles Kotlin by itself
}

android {
    namespace = "nasc.encoder"
    compileSdk = 36
    defaultConfig {
        minSdk = 24
        consumerProguardFiles("consumer-rules.pro")
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") } // what there is code for
    }
    externalNativeBuild {
        cmake { path = file("src/main/cpp/CMakeLists.txt") } // by Android's NDK
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

dependencies {
    testImplementation("junit:junit:4.13.2")
}
