using System;
using System.Collections.Generic;
using System.Linq;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;
using CoreFn;
using Newtonsoft.Json.Linq;

namespace Accounts.Books
{
    public class Ledger : IDisposable
    {
        static int disposed;

        [ExportedFunction]
        public decimal Total(List<decimal> entries) => entries.Sum();

        [ExportedFunction]
        public JObject Tagged(JObject entry)
        {
            entry["tag"] = new Tags().Next();
            return entry;
        }

        [ExportedFunction]
        public async Task<string> Later(string text)
        {
            await Task.Delay(10);
            return text + ", later";
        }

        [ExportedFunction]
        public string Wait(string text)
        {
            Thread.Sleep(1000);
            return text;
        }

        [ExportedFunction]
        public static int Disposed() => disposed;

        [ExportedFunction]
        public void Nothing()
        {
        }

        [ExportedFunction]
        public string Fail()
        {
            throw new InvalidOperationException("the books are closed");
        }

        [ExportedFunction]
        public async Task FailLater()
        {
            await Task.Delay(1);
            throw new HttpRequestException("nobody answers");
        }

        public void Dispose() => Interlocked.Increment(ref disposed);
    }
}
